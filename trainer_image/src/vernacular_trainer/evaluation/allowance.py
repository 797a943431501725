"""How much of the optional tests a job's evaluation has time for: never more than a third of its training. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SHARE_OF_TRAINING = 1 / 3
# after a short training, this long all the same
SECONDS_AT_LEAST = 75.0
# fewer questions than this say nothing
_FEWEST_PROMPTED = 8
_FEWEST_GENERAL = 30
# a prompt is read without the likelihood of each of its tokens, and in larger batches than those it was timed with
_PROMPT_COST = 0.6


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, as measured on the base: seconds to answer a question of usual length, and to read
    a token.
    """

    seconds_per_answer: float
    seconds_per_token: float


@dataclass(frozen=True)
class Allowance:
    """How many questions are asked about the world, and how many of the user's with rows in the prompt."""

    general: int
    prompted: int


def allowance_of(training_seconds: float) -> float:
    """Seconds that the evaluation may take after so many seconds of training."""
    return max(SECONDS_AT_LEAST, training_seconds * SHARE_OF_TRAINING)


def allow(
    seconds: float, pace: Pace, general: tuple[int, float], prompted: tuple[int, float], *, general_demanded: bool
) -> Allowance:
    """Spend `seconds`: at most half on the world, on what remains the prompts.

    `general` and `prompted`: questions there are, and tokens to read for each. With `general_demanded` a gate needs the
    questions about the world: all are asked.
    """
    questions, tokens = general
    # both models are asked
    cost = 2 * tokens * pace.seconds_per_token
    asked = questions if general_demanded else _affordable(questions, _FEWEST_GENERAL, seconds / 2, cost)
    rest = seconds - asked * cost
    questions, tokens = prompted
    cost = pace.seconds_per_answer + _PROMPT_COST * tokens * pace.seconds_per_token
    return Allowance(asked, _affordable(questions, _FEWEST_PROMPTED, rest, cost))


def _affordable(most: int, fewest: int, seconds: float, cost: float) -> int:
    """All, else a half, a quarter and so on, so that small differences in speed ask the same questions."""
    count = most
    while count * cost > seconds:
        count //= 2
        if count < fewest:
            return 0
    return count
