"""Rows that say the same as an earlier one: exactly, but for case and white space, or nearly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vernacular_trainer.data.checks.keys import Keys, first_of_kind
from vernacular_trainer.data.checks.words import numbers, shingles, similarity
from vernacular_trainer.data.rows import Conversation

# similar words in both: other wordings of a question, which Facts are taught with, are no near duplicates
NEAR = 0.8


def exact_duplicates(same: Keys) -> dict[int, int]:
    """Index of each row that repeats an earlier one, and of the first of its kind. `same`: equal for such rows."""
    first = first_of_kind(same)
    found = np.flatnonzero(first != np.arange(len(first)))
    return dict(zip(found.tolist(), first[found].tolist(), strict=True))


def near_duplicates(
    similar: Sequence[tuple[int, int]], are_near: Sequence[bool], judge: Callable[[int, int], bool]
) -> dict[int, int]:
    """Index of each row that nearly repeats an earlier one, and of that one. `similar`: pairs of similar questions;
    `are_near`: which of them are near duplicates; `judge`: whether any two rows are.
    """
    found: dict[int, int] = {}
    pairs = zip(similar, are_near, strict=True)
    for (earlier, later), near in sorted(pairs, key=lambda pair: (pair[0][1], pair[0][0])):
        kept = found.get(earlier, earlier)
        if later not in found and kept != later and (near if kept == earlier else judge(kept, later)):
            found[later] = kept
    return found


def compared(row: Conversation) -> str:
    """The text of a row that similarity is about: what is asked, without the system message; plain text whole."""
    return row.answer if row.plain else row.asked


def nearly_same(left: Conversation, right: Conversation) -> bool:
    """Whether one of two rows nearly repeats the other. Rows whose numbers differ never do: that is how tables of facts
    look.
    """
    return (
        numbers(left.asked + left.answer) == numbers(right.asked + right.answer)
        and similar(compared(left), compared(right))
        and similar(left.answer, right.answer)
        and similar(_rejected(left), _rejected(right))
    )


def similar(left: str, right: str) -> bool:
    """Whether two texts say nearly the same."""
    return left == right or similarity(shingles(left), shingles(right)) >= NEAR


def _rejected(row: Conversation) -> str:
    """Two equal choices against other answers teach two things."""
    return row.rejected.content if row.rejected else ""
