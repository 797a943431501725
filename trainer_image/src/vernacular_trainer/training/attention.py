"""Rows of tokens laid one behind another without padding; each attends to itself alone.

Everything in a transformer but attention treats positions one by one, and computes a packed batch as it is. For
attention the rows are put beside each other, rows of similar length in one group. Padding stands behind a row, where
causal attention never looks, so that no mask is needed and the fastest kernel serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from vernacular_trainer.layout import similar_rows

# the name under which models find it; transformers makes no mask for a name that it does not know
PACKED = "vernacular_packed"


@dataclass(frozen=True, eq=False)
class Group:
    """Consecutive rows of a batch: `rows` rows of at most `longest` tokens from position `start` to `end` of the batch.

    `places`, shape (end - start,): where each token lies in the grid of rows x longest; None: rows are equally long,
    and every place is taken.
    """

    start: int
    end: int
    rows: int
    longest: int
    places: torch.Tensor | None


def groups_of(lengths: Sequence[int], device: torch.device) -> tuple[Group, ...]:
    """Divide the rows of a packed batch, in their order, into groups of similar length."""
    groups: list[Group] = []
    start = 0
    for rows in similar_rows(lengths):
        groups.append(_group(start, rows, device))
        start += sum(rows)
    return tuple(groups)


def _group(start: int, rows: list[int], device: torch.device) -> Group:
    longest, end = max(rows), start + sum(rows)
    if longest == min(rows):
        return Group(start, end, len(rows), longest, None)
    places = torch.cat([torch.arange(row * longest, row * longest + length) for row, length in enumerate(rows)])
    return Group(start, end, len(rows), longest, places.to(device))


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    groups: tuple[Group, ...] = (),
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each row. query, key, value: shape (1, heads, tokens, size); the result:
    (1, tokens, heads, size).

    No row is longer than a sliding window of the model: the plan packs no others.
    """
    assert groups, "packed rows need their groups"
    assert attention_mask is None
    parts = [_attend(module, [_grid(each, group) for each in (query, key, value)], group, kwargs) for group in groups]
    return (torch.cat(parts) if len(parts) > 1 else parts[0])[None], None


def _attend(module: torch.nn.Module, grids: list[torch.Tensor], group: Group, kwargs: dict[str, Any]) -> torch.Tensor:
    found, _ = sdpa_attention_forward(module, *grids, None, **{**kwargs, "is_causal": True})
    tokens: torch.Tensor = found.flatten(0, 1)
    return tokens if group.places is None else tokens.index_select(0, group.places)


def _grid(states: torch.Tensor, group: Group) -> torch.Tensor:
    """States of the tokens of a group, (1, heads, tokens, size) to (rows, heads, longest, size)."""
    own = states[0, :, group.start : group.end].transpose(0, 1)
    if group.places is not None:
        own = own.new_zeros((group.rows * group.longest, *own.shape[1:])).index_copy(0, group.places, own)
    return own.reshape(group.rows, group.longest, *own.shape[1:]).transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)
