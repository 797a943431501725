"""JSON Lines: one value a line; a bad line costs nothing but itself."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from vernacular_trainer.data.reading.record import Record, parse_json


def read_json_lines(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every line that is not blank."""
    # lines end at "\n" alone: JSON strings may hold U+2028 and its like unescaped
    for number, line in enumerate(stream, start=1):
        raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if raw.strip():
            yield _record(raw, f"{name}:{number}")


def _record(raw: bytes, row: str) -> Record:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return Record(row, None, "NotUtf8")
    try:
        return Record(row, parse_json(text))
    except ValueError:
        return Record(row, None, "BrokenJson")
