"""JSON Lines: one value a line; a bad line costs nothing but itself."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from vernacular_trainer.data.reading.blocks import gathered
from vernacular_trainer.data.reading.columns import renamed
from vernacular_trainer.data.reading.record import Record, parse_json

_BLOCK_BYTES = 1 << 19


@dataclass(frozen=True)
class Lines:
    """Whole lines of the file `name`, of which the first has the 1-based number `first`."""

    name: str
    first: int
    data: bytes
    columns: dict[str, str]

    def __iter__(self) -> Iterator[Record]:
        """A record for every line that is not blank."""
        for number, line in enumerate(self.data.split(b"\n"), start=self.first):
            raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if raw.strip():
                yield renamed(_record(raw, f"{self.name}:{number}"), self.columns)


def read_json_lines(stream: BinaryIO, name: str, columns: Mapping[str, str]) -> Iterator[Lines]:
    """The lines of a file in blocks of some hundred kilobytes, which are parsed when they are iterated."""
    first = 1
    # lines end at "\n" alone: JSON strings may hold U+2028 and its like unescaped
    for lines in gathered(stream, len, _BLOCK_BYTES):
        yield Lines(name, first, b"".join(lines), dict(columns))
        first += len(lines)


def _record(raw: bytes, row: str) -> Record:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return Record(row, None, "NotUtf8")
    try:
        return Record(row, parse_json(text))
    except ValueError:
        return Record(row, None, "BrokenJson")
