"""How rows that are packed one behind the other lie beside each other for attention. Pure, standard library only."""

from __future__ import annotations

from collections.abc import Sequence

# a row shorter than the longest of its group by more than this factor begins a new one: attention computes less than
# this many times the tokens
_GROUP_FACTOR = 2


def similar_rows(lengths: Sequence[int]) -> list[list[int]]:
    """The lengths in their order, divided into groups of similar ones."""
    groups: list[list[int]] = []
    for length in lengths:
        group = groups[-1] if groups else []
        if group and min(*group, length) * _GROUP_FACTOR >= max(*group, length):
            group.append(length)
        else:
            groups.append([length])
    return groups
