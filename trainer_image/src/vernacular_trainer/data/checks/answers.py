"""The answers as a whole: all alike, far longer than the rest, too few."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from vernacular_trainer.data.rows import Conversation

FEW_ROWS = 50
# below this a share says nothing
_ENOUGH_FOR_SHARES = 20
_OUTLIER_TIMES = 20
_OUTLIER_CHARACTERS = 2000


def answers_alike(rows: Sequence[Conversation]) -> list[int]:
    """Indexes of the rows with the most frequent answer when they are at least half of all."""
    if len(rows) < _ENOUGH_FOR_SHARES:
        return []
    answers = [row.answer for row in rows]
    common, count = Counter(answers).most_common(1)[0]
    return [index for index, answer in enumerate(answers) if answer == common] if 2 * count >= len(rows) else []


def length_outliers(rows: Sequence[Conversation]) -> list[int]:
    """Indexes of rows whose answer is many times longer than the usual one."""
    lengths = [len(row.messages[-1].content) for row in rows]
    limit = max(_OUTLIER_CHARACTERS, _OUTLIER_TIMES * statistics.median(lengths)) if lengths else 0
    return [index for index, length in enumerate(lengths) if length > limit]
