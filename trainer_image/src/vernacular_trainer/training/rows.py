"""Tokenised rows as prepare left them, read without copying, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

IGNORED = -100
_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class RowTable:
    """Rows of tokens, one after another. `offsets` has shape (rows + 1,); row i ends before `offsets[i + 1]`."""

    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def open(cls, path: Path) -> RowTable:
        """Map an Arrow file with the columns input_ids and labels. Raises OSError and ArrowInvalid."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        tokens, offsets = _flatten(table.column("input_ids"))
        labels, label_offsets = _flatten(table.column("labels"))
        if not np.array_equal(offsets, label_offsets):
            raise ValueError("rows and labels differ in length")
        return cls(tokens, labels, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def supervised(self) -> NDArray[np.int64]:
        """Positions of each row whose next token is to be predicted, shape (rows,)."""
        counts = np.empty(len(self), dtype=np.int64)
        # in blocks: the labels may be mapped from a file that is larger than the memory
        for first in range(0, len(self), _BLOCK_ROWS):
            bounds = self.offsets[first : first + _BLOCK_ROWS + 1]
            predicted = self.labels[bounds[0] : bounds[-1]] != IGNORED
            # the first token of a row never is
            predicted[bounds[:-1] - bounds[0]] = False
            before = np.concatenate([[0], np.cumsum(predicted)])
            counts[first : first + _BLOCK_ROWS] = np.diff(before[bounds - bounds[0]])
        return counts

    def batch(self, rows: Sequence[int]) -> Batch:
        """Some rows; see collate for none at all."""
        return collate(self, rows)

    def row(self, number: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens and labels of one row, each of shape (length,)."""
        span = slice(self.offsets[number], self.offsets[number + 1])
        return self.tokens[span], self.labels[span]


def _flatten(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.to_numpy()[offsets[0] : offsets[-1]]
    return values, offsets - offsets[0]


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right to one length. All tensors have the shape (rows, length).

    `targets[r, t]` is the token that position t has to predict, or IGNORED. `reference`, shape (rows / 2, 2): of pairs,
    how likely the chosen and the rejected answer were before the training; see likelihoods.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor
    reference: torch.Tensor | None = None

    @property
    def supervised(self) -> int:
        """Number of positions with a target."""
        return int((self.targets != IGNORED).sum())

    @property
    def size(self) -> int:
        """Number of tokens, padding left out."""
        return int(self.attention_mask.sum())


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of answers to one prompt: of pair i the chosen one is row 2i of `rows`, the rejected one row 2i + 1.

    `reference`, shape (pairs, 2): how likely the two were before the training, in natural logarithms; None before that
    was measured.
    """

    rows: RowTable
    reference: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows) // 2

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of the longer answer of each pair, its prompt included, shape (pairs,)."""
        longest: NDArray[np.int64] = self.rows.lengths.reshape(-1, 2).max(axis=1)
        return longest

    def batch(self, pairs: Sequence[int]) -> Batch:
        """Both rows of each pair, one behind the other; see collate for no pairs at all."""
        batch = collate(self.rows, [row for pair in pairs for row in (2 * pair, 2 * pair + 1)])
        if self.reference is None or not pairs:
            return batch
        # as bits: DeepSpeed casts whatever it takes for a fraction to the precision of the training
        return replace(batch, reference=torch.from_numpy(self.reference[list(pairs)]).view(torch.int64))


Table = RowTable | PairTable


def likelihoods(reference: torch.Tensor) -> torch.Tensor:
    """Sums of natural logarithms, float64, shape (pairs, 2), of a batch's reference."""
    return reference.view(torch.float64)


def collate(table: RowTable, rows: Sequence[int]) -> Batch:
    """Make a batch. No rows at all give one row without targets: every rank must compute in every micro batch."""
    selected = [table.row(number) for number in (rows or [0])]
    length = max(len(tokens) for tokens, _ in selected)
    shape = (len(selected), length)
    input_ids = np.zeros(shape, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    targets = np.full(shape, IGNORED, dtype=np.int64)
    for index, (tokens, labels) in enumerate(selected):
        input_ids[index, : len(tokens)] = tokens
        attention_mask[index, : len(tokens)] = 1
        if rows:
            targets[index, : len(tokens) - 1] = labels[1:]
    return Batch(torch.from_numpy(input_ids), torch.from_numpy(attention_mask), torch.from_numpy(targets))
