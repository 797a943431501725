"""What models answered, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from vernacular_trainer.evaluation.scoring import Score


@dataclass(frozen=True)
class TermAnswer:
    """What a model makes of a term of the glossary. `used`: in the company it gives the term the company's meaning;
    `expanded`: outside too, where the general one is right. None for terms without another meaning.
    """

    text: str
    score: Score
    used: bool | None
    expanded: bool | None


@dataclass(frozen=True)
class Answers:
    """What a model answers, in the order of the questions. `log_likelihoods`: of the expected answers, per token; None
    where nothing is expected, or a model is broken. `general`: which questions about the world it answers right;
    `terms`: in the order of the glossary.
    """

    texts: tuple[str, ...]
    log_likelihoods: tuple[float | None, ...]
    general: tuple[bool, ...]
    terms: tuple[TermAnswer, ...] = ()


@dataclass(frozen=True)
class BaseExam:
    """The base's answers; `with_rows`: those to the questions at `sampled`, with training rows in the prompt.

    `seconds_per_request`: with rows and without.
    """

    answers: Answers
    sampled: tuple[int, ...]
    with_rows: tuple[str, ...]
    seconds_per_request: tuple[float, float]
