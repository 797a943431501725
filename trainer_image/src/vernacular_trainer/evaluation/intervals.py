"""How sure a difference between two models is that were asked the same questions. Pure.

Rubin (1981), The Bayesian bootstrap: the questions are weighted anew many times and the spread of the weighted mean is
the interval. One made-up question each for better, equal and worse keeps a handful of questions from looking certain:
with them 5 of 5 prove a gain, 4 of 4 do not.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE_PERCENT = 95
RESAMPLES = 10_000
_SEED = 42
_MADE_UP = (-1.0, 0.0, 1.0)


@dataclass(frozen=True)
class Interval:
    """A mean difference in percentage points, and between what it lies with CONFIDENCE_PERCENT."""

    value: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the difference is surely above 0."""
        return self.low > 0

    @property
    def worse(self) -> bool:
        """Whether the difference is surely below 0."""
        return self.high < 0


def difference(left: Sequence[bool], right: Sequence[bool], units: Sequence[Hashable] | None = None) -> Interval:
    """How many percentage points more often `right` holds than `left`, question by question.

    `units`: what each question is about; questions of one unit, as phrasings of the same one, count as one piece of
    evidence. Each is a piece of its own without. An interval from -100 to 100 when nothing was asked.
    """
    if not left:
        return Interval(0.0, -100.0, 100.0)
    values = np.asarray(right, dtype=np.float64) - np.asarray(left, dtype=np.float64)
    if units is not None:
        values = _means(values, units)
    mean = 100 * float(values.mean())
    low, high = np.percentile(_resampled(values), [50 - CONFIDENCE_PERCENT / 2, 50 + CONFIDENCE_PERCENT / 2])
    return Interval(mean, min(mean, 100 * float(low)), max(mean, 100 * float(high)))


def _means(values: np.ndarray, units: Sequence[Hashable]) -> np.ndarray:
    """The mean of each unit, in the order in which units come first."""
    number: dict[Hashable, int] = {}
    places = np.array([number.setdefault(unit, len(number)) for unit in units])
    return np.bincount(places, weights=values) / np.bincount(places)


def _resampled(values: np.ndarray) -> np.ndarray:
    """Means under RESAMPLES random weightings, always the same; equal values share a weight, which changes nothing."""
    distinct, counts = np.unique(np.concatenate([values, _MADE_UP]), return_counts=True)
    weights = np.random.default_rng(_SEED).dirichlet(counts, size=RESAMPLES)
    means: np.ndarray = weights @ distinct
    return means
