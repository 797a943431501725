"""Which rows are held out: decided by content and seed alone, so that the order of the files does not matter."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from vernacular_trainer.data.rows import Conversation


@dataclass(frozen=True)
class Split:
    """Indexes of the rows, in their order. `untaught`: with Facts, held-out rows whose answer no training row gives."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    untaught: tuple[int, ...] = ()


def split_rows(rows: list[Conversation], percent: int, teaches: str, seed: int) -> Split:
    """Hold out `percent` of the rows, at least one when it is not 0.

    Facts: rows whose answer other rows still teach are held out first, so that the held-out ones are other wordings of
    what was taught. Skill: rows with the same question stay on the same side, so that the held-out ones are unseen.
    Repeated rows always stay together.
    """
    wanted = max(1, round(len(rows) * percent / 100)) if percent else 0
    groups = _groups(rows, teaches)
    order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    if teaches == "Facts":
        held, untaught = _hold_out_wordings(rows, groups, order, wanted)
    else:
        held, untaught = _hold_out(groups, order, wanted), set()
    train = tuple(index for index in range(len(rows)) if index not in held)
    return Split(train, tuple(sorted(held)), tuple(sorted(untaught)))


def _groups(rows: list[Conversation], teaches: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        key = row.digest if teaches == "Facts" or row.plain else hashlib.sha256(row.question.encode()).hexdigest()
        groups.setdefault(key, []).append(index)
    return groups


def _hold_out(groups: dict[str, list[int]], order: list[str], wanted: int) -> set[int]:
    held: set[int] = set()
    for key in order:
        if len(held) + len(groups[key]) <= wanted:
            held.update(groups[key])
    return held


def _hold_out_wordings(
    rows: list[Conversation], groups: dict[str, list[int]], order: list[str], wanted: int
) -> tuple[set[int], set[int]]:
    wordings = Counter(rows[groups[key][0]].answer for key in order)
    taught: list[str] = []
    others: list[str] = []
    for key in order:
        answer = rows[groups[key][0]].answer
        if wordings[answer] > 1:
            wordings[answer] -= 1
            taught.append(key)
        else:
            others.append(key)
    held = _hold_out(groups, taught + others, wanted)
    return held, {index for key in others for index in groups[key] if index in held}
