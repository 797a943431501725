"""From scores to a verdict: counts, gain with its 95 % interval, and one sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vernacular_trainer.contract import AnswerCounts, EvaluateSummary, Gain
from vernacular_trainer.evaluation.scoring import Score, Scored

RESAMPLES = 10_000
BOOTSTRAP_SEED = 42


def judge(base: Sequence[Scored], tuned: Sequence[Scored], unanswerable: int, seconds: int) -> EvaluateSummary:
    """Compare two models on the same questions, in the same order; `unanswerable` of them have no answer."""
    base_counts, tuned_counts = count(base), count(tuned)
    gain, low, high = paired_gain([_right(item) for item in base], [_right(item) for item in tuned])
    verdict = "Promote" if low > 0 else "Regressed" if high < 0 else "Inconclusive"
    return EvaluateSummary(
        summary=_sentence(base_counts, tuned_counts, len(tuned), unanswerable),
        verdict=verdict,
        base=base_counts,
        tuned=tuned_counts,
        gain_points=Gain(round(gain), round(low), round(high)),
        evaluation_seconds=seconds,
    )


def nothing_asked() -> EvaluateSummary:
    """The outcome when neither questions nor held-out rows exist."""
    return EvaluateSummary(
        summary="Nothing was held out, so nothing was asked: give evaluation.questions.",
        verdict="Inconclusive",
        base=AnswerCounts(0, 0, 0),
        tuned=AnswerCounts(0, 0, 0),
        gain_points=Gain(0, 0, 0),
    )


def count(scored: Sequence[Scored]) -> AnswerCounts:
    """How many answers got which score."""
    by_score = {score: sum(item.score is score for item in scored) for score in Score}
    invented = sum(item.invented for item in scored)
    return AnswerCounts(by_score[Score.CORRECT], by_score[Score.WRONG], by_score[Score.DECLINED], invented)


def paired_gain(base: Sequence[bool], tuned: Sequence[bool]) -> tuple[float, float, float]:
    """Gain in percentage points and its 95 % bootstrap interval; drawn in pairs, always the same."""
    difference = np.asarray(tuned, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    means = np.array([generator.choice(difference, difference.size).mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    return 100 * float(difference.mean()), 100 * float(low), 100 * float(high)


def _right(item: Scored) -> bool:
    return item.score is Score.CORRECT


def _sentence(base: AnswerCounts, tuned: AnswerCounts, asked: int, unanswerable: int) -> str:
    invented = f"; invented {tuned.invented} of {unanswerable}" if unanswerable else ""
    return f"Tuned {tuned.correct} of {asked} right, base {base.correct}; {tuned.wrong} wrong{invented}."
