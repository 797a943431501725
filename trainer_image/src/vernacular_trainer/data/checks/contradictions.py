"""Questions that are asked twice and answered differently: other numbers, or other words altogether."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.words import content_key, numbers, shingles, similarity
from vernacular_trainer.data.rows import Conversation

_OTHER_ANSWER = 0.2


@dataclass(frozen=True)
class Contradiction:
    """Indexes of two rows that ask the same, and the code of how their answers differ."""

    first: int
    second: int
    code: str


def contradictions(rows: Sequence[Conversation]) -> Iterator[Contradiction]:
    """Every row whose answer differs from that of the first row with the same question. Preferences are left out: of
    one question many answers may be compared.
    """
    seen: dict[tuple[str, ...], int] = {}
    for index, row in enumerate(rows):
        if row.plain or row.rejected or not row.asked:
            continue
        first = seen.setdefault(_asked(row), index)
        if first != index and (code := _difference(rows[first].answer, row.answer)):
            yield Contradiction(first, index, code)


def _asked(row: Conversation) -> tuple[str, ...]:
    """Equal for rows that ask the same in nearly the same words of the same system message."""
    return (row.system, *content_key(row.asked))


def _difference(left: str, right: str) -> str:
    if left == right:
        return ""
    given, other = numbers(left), numbers(right)
    if given and other and given != other:
        return "ContradictingNumbers"
    return "ContradictingAnswers" if similarity(shingles(left), shingles(right)) < _OTHER_ANSWER else ""
