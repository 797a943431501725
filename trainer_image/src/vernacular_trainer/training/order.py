"""Which rows go into which optimizer step: a pure function of the seed, which needs no saved position."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Rows of similar length share a step, which saves padding; a wider window saves more and mixes less.
WINDOW_STEPS = 8


@dataclass(frozen=True, eq=False)
class StepOrder:
    """An endless stream of epochs, cut into steps of exactly `batch_size` rows; a step may span two epochs.

    `lengths`: tokens of each row, shape (rows,). `by_length`: rows of similar length share a step, for batches that are
    padded; without padding any rows do.
    """

    lengths: NDArray[np.int64]
    batch_size: int
    seed: int
    by_length: bool = True

    @cached_property
    def _epochs(self) -> dict[int, NDArray[np.int64]]:
        return {}

    def rows_of(self, step: int) -> list[int]:
        """Row numbers of one step (0-based), longest row first."""
        first = step * self.batch_size
        rows = np.array([self._row_at(position) for position in range(first, first + self.batch_size)])
        return [int(row) for row in rows[np.argsort(-self.lengths[rows], kind="stable")]]

    def _row_at(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.lengths))
        return int(self._epoch(epoch)[offset])

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._epochs:
            for old in [number for number in self._epochs if number < epoch - 1]:
                del self._epochs[old]
            self._epochs[epoch] = self._arrange(epoch)
        return self._epochs[epoch]

    def _arrange(self, epoch: int) -> NDArray[np.int64]:
        """Every row once: shuffled, then by length inside windows whose steps are shuffled again."""
        random = np.random.default_rng((self.seed, epoch))
        shuffled = random.permutation(len(self.lengths))
        if not self.by_length:
            return shuffled
        # the rows that fill the step which the epoch before began
        head = min(-epoch * len(shuffled) % self.batch_size, len(shuffled))
        whole = head + (len(shuffled) - head) // self.batch_size * self.batch_size
        size = WINDOW_STEPS * self.batch_size
        windows = [shuffled[start : min(start + size, whole)] for start in range(head, whole, size)]
        groups = [self._group(window, random) for window in windows]
        return np.concatenate([shuffled[:head], *groups, shuffled[whole:]])

    def _group(self, window: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        by_length = window[np.argsort(self.lengths[window], kind="stable")].reshape(-1, self.batch_size)
        return by_length[random.permutation(len(by_length))].reshape(-1)


def micro_batches(
    rows: Sequence[int], sizes: Sequence[int], rank: int, world_size: int, accumulation: int
) -> list[list[int]]:
    """The part of one step that a rank computes, in `accumulation` pieces, some perhaps empty.

    `sizes`: tokens of each of the rows, which come longest first. The pieces of all ranks have nearly as many tokens as
    each other, since ranks wait for each other, and none has more rows than its share. Longest processing time first
    (Graham, "Bounds on multiprocessing timing anomalies", 1969).
    """
    pieces: list[list[int]] = [[] for _ in range(world_size * accumulation)]
    most = -(-len(rows) // len(pieces))
    # (tokens, piece): the lightest piece that has room
    open_pieces = [(0, number) for number in range(len(pieces))]
    for row, size in zip(rows, sizes, strict=True):
        tokens, number = heapq.heappop(open_pieces)
        pieces[number].append(row)
        if len(pieces[number]) < most:
            heapq.heappush(open_pieces, (tokens + size, number))
    return pieces[rank::world_size]
