"""Records in blocks that are worked on together, by other processes than the one that reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, TypeVar

from vernacular_trainer.data.reading.record import Record

T = TypeVar("T")
Block = Iterable[Record]
BlockReader = Callable[[BinaryIO, str, Mapping[str, str]], Iterator[Block]]

_BLOCK_RECORDS = 1000


def gathered(items: Iterable[T], weigh: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Items in lists that weigh `limit` or a little more. What reading them raises comes after those before it."""
    found: list[T] = []
    weight = 0
    try:
        for item in items:
            found.append(item)
            weight += weigh(item)
            if weight >= limit:
                yield found
                found, weight = [], 0
    except Exception:
        if found:
            yield found
        raise
    if found:
        yield found


def in_blocks(read: Callable[[BinaryIO, str, Mapping[str, str]], Iterator[Record]]) -> BlockReader:
    """A reader that gives its records in blocks."""
    return lambda stream, name, columns: gathered(read(stream, name, columns), lambda _: 1, _BLOCK_RECORDS)
