"""Answers by topic: how each does, and which are weak. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.intervals import Interval, difference
from vernacular_trainer.evaluation.scoring import Score, Scored

MOST_WEAK_TOPICS = 5
_WEAK_PERCENT = 60
_TOPIC_CHARACTERS = 60


@dataclass(frozen=True)
class Topic:
    """The answers to the questions of one topic."""

    name: str
    asked: int
    base_correct: int
    tuned_correct: int
    gain: Interval


def by_topic(questions: Sequence[Question], base: Sequence[Scored], tuned: Sequence[Scored]) -> tuple[Topic, ...]:
    """Every named topic, in the order in which they come first."""
    topics = []
    for name, places in _places(questions).items():
        left, right = ([scores[place].score is Score.CORRECT for place in places] for scores in (base, tuned))
        gain = difference(left, right, [questions[place].unit for place in places])
        topics.append(Topic(name, len(places), sum(left), sum(right), gain))
    return tuple(topics)


def weak_topics(questions: Sequence[Question], tuned: Sequence[Scored]) -> tuple[str, ...]:
    """Topics of which the tuned model answers less than _WEAK_PERCENT right, worst first."""
    shares = {
        name: sum(tuned[place].score is Score.CORRECT for place in places) / len(places)
        for name, places in _places(questions).items()
    }
    weak = sorted((share, name) for name, share in shares.items() if 100 * share < _WEAK_PERCENT)
    return tuple(name[:_TOPIC_CHARACTERS] for _, name in weak[:MOST_WEAK_TOPICS])


def _places(questions: Sequence[Question]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        if question.topic:
            places.setdefault(question.topic, []).append(place)
    return places
