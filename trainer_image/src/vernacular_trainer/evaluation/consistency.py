"""Whether a model answers a question alike however it is put. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.scoring import Score, Scored


def agreeing(questions: Sequence[Question], scored: Sequence[Scored]) -> tuple[int, int]:
    """How many questions get the same score in all their phrasings, and how many have more than one."""
    scores: dict[str, list[Score]] = {}
    for question, item in zip(questions, scored, strict=True):
        scores.setdefault(question.unit, []).append(item.score)
    several = [found for found in scores.values() if len(found) > 1]
    return sum(len(set(found)) == 1 for found in several), len(several)
