"""Where the tuned model fails: by topic, term, length of the answer and source of the nearest training row, and what
the training rows lack there. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.terms import says
from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.glossary import Glossary
from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.lessons import ADVICE, Lesson, Why
from vernacular_trainer.evaluation.prompting import TaughtRow, TaughtRows

_NEAREST = 3
# answers of up to so many words
_LENGTHS = ((5, "up to 5 words"), (20, "6 to 20 words"), (60, "21 to 60 words"))
_LONGER = "more than 60 words"


@dataclass(frozen=True)
class Group:
    """Questions that share something: `by` topic, term, length or source; `lessons` of those that were failed."""

    by: str
    name: str
    asked: int
    lessons: tuple[Lesson, ...]

    @property
    def failed(self) -> int:
        return len(self.lessons)

    @property
    def lacks(self) -> dict[Why, int]:
        """How many failures have which reason, the most frequent first."""
        return dict(Counter(lesson.why for lesson in self.lessons).most_common())

    @property
    def advice(self) -> str:
        """What to do about the most frequent reason."""
        return ADVICE[next(iter(self.lacks))]

    @property
    def nearest(self) -> tuple[TaughtRow, ...]:
        """The training rows that come near to most of the failed questions."""
        near = Counter(row for lesson in self.lessons for row in lesson.nearest)
        return tuple(row for row, _ in near.most_common(_NEAREST))


def groups(
    questions: Sequence[Question], lessons: Sequence[Lesson], rows: TaughtRows, glossary: Glossary
) -> tuple[Group, ...]:
    """Every group with a failure, which is what has a lesson; of each kind the worst first."""
    asked: Counter[tuple[str, str]] = Counter(key for question in questions for key in shared(question, rows, glossary))
    failed: dict[tuple[str, str], list[Lesson]] = {}
    for lesson in lessons:
        for key in shared(lesson.question, rows, glossary):
            failed.setdefault(key, []).append(lesson)
    found = [Group(*key, asked[key], tuple(missed)) for key, missed in failed.items()]
    kinds = ("topic", "term", "length", "source")
    return tuple(sorted(found, key=lambda group: (kinds.index(group.by), -group.failed / group.asked, group.name)))


def shared(question: Question, rows: TaughtRows, glossary: Glossary) -> Iterator[tuple[str, str]]:
    """The groups that a question belongs to, as pairs of kind and name."""
    if question.topic:
        yield "topic", question.topic
    for term in glossary.terms:
        if says(question.asked, (term.term, *term.synonyms)):
            yield "term", term.term
    if question.expected:
        length = len(words(question.expected))
        yield "length", next((name for most, name in _LENGTHS if length <= most), _LONGER)
    if (nearest := rows.nearest(question.asked, 1)) and nearest[0].source:
        yield "source", nearest[0].source
