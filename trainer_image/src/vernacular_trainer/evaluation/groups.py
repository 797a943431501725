"""Where the tuned model fails: by topic, term, length of the answer and source of the nearest training row. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.terms import says
from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.glossary import Glossary
from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.prompting import TaughtRows
from vernacular_trainer.evaluation.scoring import Score, Scored

# answers of up to so many words
_LENGTHS = ((5, "up to 5 words"), (20, "6 to 20 words"), (60, "21 to 60 words"))
_LONGER = "more than 60 words"


@dataclass(frozen=True)
class Group:
    """Questions that share something: `by` topic, term, length or source."""

    by: str
    name: str
    asked: int
    failed: int


def groups(
    questions: Sequence[Question], tuned: Sequence[Scored], rows: TaughtRows, glossary: Glossary
) -> tuple[Group, ...]:
    """Every group with a failure; of each kind the worst first."""
    counts: dict[tuple[str, str], list[bool]] = {}
    for question, scored in zip(questions, tuned, strict=True):
        for key in shared(question, rows, glossary):
            counts.setdefault(key, []).append(scored.score is not Score.CORRECT)
    found = [Group(by, name, len(failed), sum(failed)) for (by, name), failed in counts.items() if any(failed)]
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
