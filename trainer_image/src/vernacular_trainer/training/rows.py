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
# tokens and labels, each of shape (length,)
Row = tuple[NDArray[np.int32], NDArray[np.int32]]
_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class RowTable:
    """Rows of tokens, one after another. `offsets` has shape (rows + 1,); row i ends before `offsets[i + 1]`.

    `packed`: how batches of them are laid out.
    """

    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int64]
    packed: bool = False

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
        """Some rows; of none at all one row without targets: every rank must compute in every micro batch."""
        selected = [self.row(number) for number in (rows or [0])]
        if not rows:
            selected = [(tokens, np.full_like(labels, IGNORED)) for tokens, labels in selected]
        return (pack if self.packed else pad)(selected)

    def laid_out(self, *, packed: bool) -> RowTable:
        """The same rows, in batches of that layout."""
        return replace(self, packed=packed)

    def row(self, number: int) -> Row:
        """Tokens and labels of one row, each of shape (length,)."""
        span = slice(self.offsets[number], self.offsets[number + 1])
        return self.tokens[span], self.labels[span]


def _flatten(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    # a single piece stays where it is mapped: to put pieces together copies even one
    first, *more = column.chunks or [pa.array([], column.type)]
    array = pa.concat_arrays([first, *more]) if more else first
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.to_numpy()[offsets[0] : offsets[-1]]
    return values, offsets - offsets[0]


@dataclass(frozen=True)
class Batch:
    """Rows beside each other, padded on the right to one length: tensors of the shape (rows, length). Or `packed`, one
    behind the other without padding: (1, tokens).

    `targets[r, t]` is the token that position t has to predict, or IGNORED. `lengths`: tokens of each row. `reference`,
    shape (rows / 2, 2): of pairs, how likely the chosen and the rejected answer were before the training; see
    likelihoods.
    """

    input_ids: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]
    packed: bool = False
    reference: torch.Tensor | None = None

    @property
    def supervised(self) -> int:
        """Number of positions with a target."""
        return int((self.targets != IGNORED).sum())

    @property
    def size(self) -> int:
        """Number of tokens, padding left out."""
        return sum(self.lengths)

    def real(self) -> torch.Tensor:
        """What of rows beside each other is no padding: bool, shape (rows, longest)."""
        places = torch.arange(max(self.lengths), device=self.input_ids.device)
        return places < torch.tensor(self.lengths, device=places.device)[:, None]

    def positions(self) -> torch.Tensor:
        """Place of each token in its row, as the tokens lie in a packed batch: shape (1, tokens)."""
        places = [torch.arange(length, device=self.input_ids.device) for length in self.lengths]
        return torch.cat(places)[None]

    def supervised_by_row(self) -> torch.Tensor:
        """Which positions have a target, rows beside each other however the batch is laid out: bool,
        shape (rows, longest).
        """
        supervised = self.targets != IGNORED
        if not self.packed:
            return supervised
        real = self.real()
        return torch.zeros_like(real).masked_scatter(real, supervised[0])


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

    def laid_out(self, *, packed: bool) -> PairTable:
        """The same pairs, in batches of that layout."""
        return replace(self, rows=self.rows.laid_out(packed=packed))

    def batch(self, pairs: Sequence[int]) -> Batch:
        """Both rows of each pair, one behind the other; see RowTable.batch for no pairs at all."""
        batch = self.rows.batch([row for pair in pairs for row in (2 * pair, 2 * pair + 1)])
        if self.reference is None or not pairs:
            return batch
        # as bits: DeepSpeed casts whatever it takes for a fraction to the precision of the training
        return replace(batch, reference=torch.from_numpy(self.reference[list(pairs)]).view(torch.int64))


Table = RowTable | PairTable


def likelihoods(reference: torch.Tensor) -> torch.Tensor:
    """Sums of natural logarithms, float64, shape (pairs, 2), of a batch's reference."""
    return reference.view(torch.float64)


def pad(rows: Sequence[Row]) -> Batch:
    """Rows beside each other."""
    lengths = tuple(len(tokens) for tokens, _ in rows)
    shape = (len(rows), max(lengths))
    input_ids = np.zeros(shape, dtype=np.int64)
    targets = np.full(shape, IGNORED, dtype=np.int64)
    for index, (tokens, labels) in enumerate(rows):
        input_ids[index, : len(tokens)] = tokens
        targets[index, : len(tokens) - 1] = labels[1:]
    return Batch(torch.from_numpy(input_ids), torch.from_numpy(targets), lengths)


def pack(rows: Sequence[Row]) -> Batch:
    """Rows one behind the other; the last token of each predicts nothing."""
    lengths = tuple(len(tokens) for tokens, _ in rows)
    input_ids = np.concatenate([tokens for tokens, _ in rows]).astype(np.int64)
    targets = np.concatenate([np.append(labels[1:], IGNORED) for _, labels in rows]).astype(np.int64)
    return Batch(torch.from_numpy(input_ids)[None], torch.from_numpy(targets)[None], lengths, packed=True)
