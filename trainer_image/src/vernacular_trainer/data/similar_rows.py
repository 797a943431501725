"""Rows that ask nearly the same, among many: found by their MinHash, decided by their words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.duplicates import compared, near_duplicates, nearly_same, similar
from vernacular_trainer.data.checks.similarity import BANDS, band_keys, candidates
from vernacular_trainer.data.row_store import RowStore, judge_pairs, map_rows
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.workers import Workers

Pair = tuple[int, int]


@dataclass(frozen=True)
class SimilarRows:
    """Pairs (earlier, later) of rows that ask nearly the same, or of plain texts that say nearly the same; and the
    index of each row that nearly repeats an earlier one, and of that one.
    """

    pairs: tuple[Pair, ...]
    near: dict[int, int]


def similar_rows(rows: RowStore, workers: Workers) -> SimilarRows:
    """All pairs of similar rows; of many that are all alike enough to join them."""
    pairs = candidates(np.concatenate([np.zeros((0, BANDS), np.uint64), *map_rows(_bands, rows, workers)]))
    judged = zip(pairs.tolist(), judge_pairs(_likeness, rows, pairs, workers), strict=True)
    found = [((left, right), near) for (left, right), (alike, near) in judged if alike]
    kept = tuple(pair for pair, _ in found)
    near = near_duplicates(kept, [near for _, near in found], lambda one, other: nearly_same(rows[one], rows[other]))
    return SimilarRows(kept, near)


def _bands(rows: Iterable[Conversation]) -> NDArray[np.uint64]:
    return band_keys([compared(row) for row in rows])


def _likeness(left: Conversation, right: Conversation) -> tuple[bool, bool]:
    """Whether two rows ask nearly the same, and whether they are near duplicates."""
    alike = similar(compared(left), compared(right))
    return alike, alike and nearly_same(left, right)
