"""Why the tuned model failed a question, as its training rows show, and which rows to write next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vernacular_trainer.data.checks.words import shingles, similarity
from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.prompting import TaughtRow, TaughtRows
from vernacular_trainer.evaluation.scoring import Score, Scored, score

# a fact needs about so many wordings to be known in others
ENOUGH_WORDINGS = 3
_NEAREST = 5
_CANDIDATES = 50
# questions that share so much are taken to ask the same
_ALIKE = 0.5


class Why(StrEnum):
    """What the training rows lack."""

    NOT_TAUGHT = "NotTaught"
    TOO_FEW_WORDINGS = "TooFewWordings"
    CONTRADICTING = "Contradicting"
    CUT_OFF = "CutOff"
    NOT_LEARNT = "NotLearnt"
    NEVER_DECLINED = "NeverDeclined"


ADVICE = {
    Why.NOT_TAUGHT: "no training row like it holds the answer: write some that do, in several wordings",
    Why.TOO_FEW_WORDINGS: f"too few rows hold the answer: write more wordings, {ENOUGH_WORDINGS} or more in all",
    Why.CONTRADICTING: "rows that ask nearly the same answer it differently: decide which is right, correct the others",
    Why.CUT_OFF: "the rows that hold the answer are cut: raise training.maxSequenceLength, or shorten them",
    Why.NOT_LEARNT: "the rows hold the answer and it was not learnt: train longer, or with a higher rank",
    Why.NEVER_DECLINED: "write rows that ask what nobody can know from the data, and answer that it is not known",
}


@dataclass(frozen=True)
class Lesson:
    """A question that was not answered right, why, and the training rows that come nearest."""

    question: Question
    why: Why
    nearest: tuple[TaughtRow, ...]

    @property
    def advice(self) -> str:
        return ADVICE[self.why]


def lessons(questions: Sequence[Question], tuned: Sequence[Scored], rows: TaughtRows) -> tuple[Lesson, ...]:
    """A lesson for each question that the tuned model did not answer right, grouped by topic and reason."""
    failed = [item for item, scored in zip(questions, tuned, strict=True) if scored.score is not Score.CORRECT]
    found = [_lesson(question, rows) for question in failed]
    return tuple(sorted(found, key=lambda lesson: (lesson.question.topic, lesson.why)))


def _lesson(question: Question, rows: TaughtRows) -> Lesson:
    nearest = rows.nearest(question.asked, _NEAREST)
    # rows that hold the answer may be asked for in quite other words
    candidates = dict.fromkeys((*nearest, *rows.nearest(f"{question.asked} {question.expected}", _CANDIDATES)))
    return Lesson(question, _why(question, tuple(candidates)), nearest)


def _why(question: Question, nearest: tuple[TaughtRow, ...]) -> Why:
    right = [row for row in nearest if score(question, row.answer).score is Score.CORRECT]
    if not question.answerable:
        return Why.NOT_LEARNT if right else Why.NEVER_DECLINED
    if not right:
        return Why.NOT_TAUGHT
    if any(row not in right and _alike(question, row) for row in nearest):
        return Why.CONTRADICTING
    if all(row.cut for row in right):
        return Why.CUT_OFF
    return Why.TOO_FEW_WORDINGS if len(right) < ENOUGH_WORDINGS else Why.NOT_LEARNT


def _alike(question: Question, row: TaughtRow) -> bool:
    return similarity(shingles(question.asked), shingles(row.question)) >= _ALIKE
