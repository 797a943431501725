"""The answers as a whole: all alike, far longer than the rest, too few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.keys import Keys, first_of_kind

FEW_ROWS = 50
# below this a share says nothing
_ENOUGH_FOR_SHARES = 20
_OUTLIER_TIMES = 20
_OUTLIER_CHARACTERS = 2000


def answers_alike(answers: Keys) -> list[int]:
    """Indexes of the rows with the most frequent answer when they are at least half of all. `answers`: equal for rows
    with the same answer.
    """
    if len(answers) < _ENOUGH_FOR_SHARES:
        return []
    first = first_of_kind(answers)
    counts = np.bincount(first)
    common = int(counts.argmax())
    return np.flatnonzero(first == common).tolist() if 2 * counts[common] >= len(answers) else []


def length_outliers(lengths: NDArray[np.int64]) -> list[int]:
    """Indexes of rows whose answer is many times longer than the usual one. `lengths`: of the answers, in
    characters.
    """
    if not len(lengths):
        return []
    limit = max(_OUTLIER_CHARACTERS, _OUTLIER_TIMES * float(np.median(lengths)))
    return np.flatnonzero(lengths > limit).tolist()
