"""Rows that say the same as an earlier one: exactly, but for case and white space, or nearly."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular_trainer.data.checks.similarity import similar_pairs
from vernacular_trainer.data.checks.words import numbers, shingles, similarity
from vernacular_trainer.data.rows import Conversation

# similar words in both: other wordings of a question, which Facts are taught with, are no near duplicates
NEAR = 0.8


def exact_duplicates(rows: Sequence[Conversation]) -> dict[int, int]:
    """Index of each row that repeats an earlier one, and of the first of its kind."""
    first: dict[str, int] = {}
    found = {}
    for index, row in enumerate(rows):
        digest = row.digest
        if digest in first:
            found[index] = first[digest]
        else:
            first[digest] = index
    return found


def near_duplicates(rows: Sequence[Conversation], similar: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Index of each row that nearly repeats an earlier one, and of that one. `similar`: pairs of similar questions.

    Rows whose numbers differ are never near duplicates: that is how tables of facts look.
    """
    found: dict[int, int] = {}
    for earlier, later in sorted(similar, key=lambda pair: (pair[1], pair[0])):
        kept = found.get(earlier, earlier)
        if later not in found and kept != later and _near(rows[kept], rows[later]):
            found[later] = kept
    return found


def similar_questions(rows: Sequence[Conversation]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of rows that ask nearly the same; of plain texts that say nearly the same."""
    return similar_pairs([compared(row) for row in rows], NEAR)


def compared(row: Conversation) -> str:
    """The text of a row that similarity is about: what is asked, without the system message; plain text whole."""
    return row.answer if row.plain else row.asked


def _near(left: Conversation, right: Conversation) -> bool:
    return (
        numbers(left.asked + left.answer) == numbers(right.asked + right.answer)
        and similarity(shingles(compared(left)), shingles(compared(right))) >= NEAR
        and similarity(shingles(left.answer), shingles(right.answer)) >= NEAR
        and similarity(shingles(_rejected(left)), shingles(_rejected(right))) >= NEAR
    )


def _rejected(row: Conversation) -> str:
    """Two equal choices against other answers teach two things."""
    return row.rejected.content if row.rejected else ""
