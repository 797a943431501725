"""Tokenised rows on disk, of which few are in memory at a time."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.chat import NOT_TRAINED, TokenRow

# so much stays in memory
_IN_MEMORY = 1 << 25


@dataclass(frozen=True)
class PackedTokens:
    """Rows as bytes: the tokens of each and behind them its labels, as many, both int32; where each row comes from, how
    many tokens it has and how many of them are trained.
    """

    data: bytes
    places: tuple[str, ...]
    lengths: tuple[int, ...]
    trained: tuple[int, ...]


def pack_tokens(rows: Iterable[TokenRow]) -> PackedTokens:
    """Rows as bytes."""
    rows = list(rows)
    return PackedTokens(
        b"".join([array("i", tokens).tobytes() for row in rows for tokens in (row.input_ids, row.labels)]),
        tuple(row.row for row in rows),
        tuple(len(row.input_ids) for row in rows),
        tuple(row.trained for row in rows),
    )


class TokenStore:
    """Rows in a temporary file of their own, which goes when nobody holds them any more. Not for several threads.

    `lengths` and `trained`: tokens and trained tokens of each row, shape (rows,).
    """

    def __init__(
        self,
        stream: IO[bytes],
        places: list[str],
        starts: NDArray[np.int64],
        stored: NDArray[np.int64],
        lengths: NDArray[np.int64],
        trained: NDArray[np.int64],
    ) -> None:
        self._stream, self._places, self._starts, self._stored = stream, places, starts, stored
        self.lengths, self.trained = lengths, trained

    @classmethod
    def of(cls, blocks: Iterable[PackedTokens], folder: Path | None = None) -> TokenStore:
        """A store of all rows of the blocks. `folder`: of its file; None: where the system keeps such files."""
        stream = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115
        places: list[str] = []
        lengths, trained = array("q"), array("q")
        for block in blocks:
            stream.write(block.data)
            places += block.places
            lengths.extend(block.lengths)
            trained.extend(block.trained)
        counts = np.array(lengths, np.int64)
        starts = 8 * (np.cumsum(counts) - counts)
        return cls(stream, places, starts, counts, counts, np.array(trained, np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.int32], NDArray[np.int32]]]:
        """Place, tokens and labels of each row."""
        for index, place in enumerate(self._places):
            tokens, labels = self.row(index)
            yield place, tokens, labels

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens and labels of one row."""
        stored, length = int(self._stored[index]), self.lengths[index]
        self._stream.seek(int(self._starts[index]))
        both = np.frombuffer(self._stream.read(8 * stored), np.int32)
        return both[:length], both[stored : stored + length]

    def select(self, indexes: NDArray[np.int64]) -> TokenStore:
        """Some of the rows, in the order of `indexes`."""
        return TokenStore(
            self._stream,
            [self._places[index] for index in indexes.tolist()],
            *(column[indexes] for column in (self._starts, self._stored, self.lengths, self.trained)),
        )

    def cut(self, length: int) -> TokenStore:
        """All rows, of each the first `length` tokens."""
        lengths, trained = np.minimum(self.lengths, length), self.trained.copy()
        short = TokenStore(self._stream, self._places, self._starts, self._stored, lengths, trained)
        for index in np.flatnonzero(self.lengths > length).tolist():
            _, labels = short.row(index)
            trained[index] = np.count_nonzero(labels != NOT_TRAINED)
        return short
