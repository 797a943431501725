"""Rows on disk, of which few are in memory at a time: written once, read one by one, or in blocks by many processes."""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.workers import Workers

R = TypeVar("R")

# so much stays in memory
_IN_MEMORY = 1 << 25
BLOCK_BYTES = 1 << 19
BLOCK_ROWS = 1000
_USUAL = (1, (), "", "")


@dataclass(frozen=True)
class Packed:
    """Rows as bytes, one behind the other, and the `sizes` of each in bytes."""

    data: bytes
    sizes: tuple[int, ...]

    def __iter__(self) -> Iterator[Conversation]:
        position = 0
        for size in self.sizes:
            yield _unpacked(self.data[position : position + size])
            position += size


def pack(rows: Iterable[Conversation]) -> Packed:
    """Rows as bytes."""
    pieces = [_packed(row) for row in rows]
    return Packed(b"".join(pieces), tuple(map(len, pieces)))


class RowStore(Sequence[Conversation]):
    """Rows in a temporary file of their own, which goes when nobody holds them any more. Not for several threads.

    `folder`: where that file is, and those of what is made of the rows; None: where the system keeps such files.
    """

    def __init__(
        self, stream: IO[bytes], starts: NDArray[np.int64], sizes: NDArray[np.int64], folder: Path | None
    ) -> None:
        self._stream, self._starts, self._sizes = stream, starts, sizes
        self.folder = folder

    @classmethod
    def of(cls, blocks: Iterable[Packed], folder: Path | None = None) -> RowStore:
        """A store of all rows of the blocks."""
        stream = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115
        found = [np.zeros(0, np.int64)]
        for block in blocks:
            stream.write(block.data)
            found.append(np.array(block.sizes, np.int64))
        sizes = np.concatenate(found)
        return cls(stream, np.cumsum(sizes) - sizes, sizes, folder)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...

    @overload
    def __getitem__(self, index: slice) -> RowStore: ...

    def __getitem__(self, index: int | slice) -> Conversation | RowStore:
        if isinstance(index, slice):
            return RowStore(self._stream, self._starts[index], self._sizes[index], self.folder)
        return _unpacked(self._bytes(index))

    def __iter__(self) -> Iterator[Conversation]:
        for block in self.blocks():
            yield from block

    def select(self, indexes: Sequence[int]) -> RowStore:
        """Some of the rows, in the order of `indexes`."""
        chosen = np.array(indexes, np.int64)
        return RowStore(self._stream, self._starts[chosen], self._sizes[chosen], self.folder)

    def followed_by(self, other: RowStore) -> RowStore:
        """A store of these rows, and behind them those of another one."""
        return RowStore.of((block for part in (self, other) for block in part.blocks()), self.folder)

    def packed(self, indexes: Sequence[int]) -> Packed:
        """Some of the rows as bytes."""
        pieces = [self._bytes(index) for index in indexes]
        return Packed(b"".join(pieces), tuple(map(len, pieces)))

    def blocks(self) -> Iterator[Packed]:
        """All rows, in blocks of some hundred kilobytes."""
        begin = 0
        while begin < len(self):
            sizes = self._sizes[begin : begin + BLOCK_ROWS]
            count = max(1, int(np.searchsorted(np.cumsum(sizes), BLOCK_BYTES)))
            sizes = sizes[:count]
            yield Packed(self._between(begin, begin + len(sizes)), tuple(sizes.tolist()))
            begin += len(sizes)

    def _between(self, begin: int, end: int) -> bytes:
        starts, sizes = self._starts[begin:end], self._sizes[begin:end]
        if np.array_equal(starts[1:], (starts + sizes)[:-1]):
            self._stream.seek(starts[0])
            return self._stream.read(int(sizes.sum()))
        return b"".join(self._bytes(index) for index in range(begin, end))

    def _bytes(self, index: int) -> bytes:
        self._stream.seek(self._starts[index])
        return self._stream.read(int(self._sizes[index]))


def stored(rows: Sequence[Conversation]) -> RowStore:
    """The rows on disk, if they are not there already."""
    return rows if isinstance(rows, RowStore) else RowStore.of([pack(rows)])


def map_rows(work: Callable[[Iterable[Conversation]], R], rows: RowStore, workers: Workers) -> Iterator[R]:
    """What `work` makes of each block of rows, in their order."""
    return workers.map(work, rows.blocks())


def judge_pairs(
    judge: Callable[[Conversation, Conversation], R], rows: RowStore, pairs: NDArray[np.int64], workers: Workers
) -> Iterator[R]:
    """What `judge` says about each pair of rows; `pairs` has shape (pairs, 2)."""
    for found in workers.map(partial(_judged, judge), _pair_blocks(rows, pairs)):
        yield from found


def _pair_blocks(rows: RowStore, pairs: NDArray[np.int64]) -> Iterator[tuple[Packed, NDArray[np.int64]]]:
    for begin in range(0, len(pairs), BLOCK_ROWS):
        used, places = np.unique(pairs[begin : begin + BLOCK_ROWS], return_inverse=True)
        yield rows.packed(used.tolist()), places.reshape(-1, 2)


def _judged(judge: Callable[[Conversation, Conversation], R], block: tuple[Packed, NDArray[np.int64]]) -> list[R]:
    rows, pairs = list(block[0]), block[1].tolist()
    return [judge(rows[left], rows[right]) for left, right in pairs]


# Of all that Python has, marshal is the fastest way to write what JSON can hold and to read the same again. The bytes
# never leave the processes of one run.
def _packed(row: Conversation) -> bytes:
    rejected = _parts(row.rejected) if row.rejected else None
    return marshal.dumps(
        (row.row, [_parts(message) for message in row.messages], row.tools, row.plain, rejected, row.topic)
    )


def _unpacked(data: bytes) -> Conversation:
    row, messages, tools, plain, rejected, topic = marshal.loads(data)  # noqa: S302
    turns = tuple([Message(*parts) for parts in messages])
    return Conversation(row, turns, tools, plain, Message(*rejected) if rejected else None, topic)


def _parts(message: Message) -> tuple[Any, ...]:
    others = (message.weight, message.tool_calls, message.tool_call_id, message.name)
    return (message.role, message.content, *(() if others == _USUAL else others))
