"""CSV with a header; separated by commas, semicolons or tabs, as the header shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from vernacular_trainer.data.reading.columns import header_of, record_of
from vernacular_trainer.data.reading.record import Record, unreadable

_UNDECODED = re.compile("[\udc80-\udcff]")
_LONGEST_FIELD = 2**31 - 1


def read_delimited(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every row below the header, at the line where it begins. Raises StageError (DatasetUnreadable)."""
    # the module's own limit of 128 KiB would refuse long texts
    csv.field_size_limit(_LONGEST_FIELD)
    # lines end at "\n" alone, as editors count them
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="\n")
    first = text.readline()
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(_chain(first, text), delimiter=delimiter, strict=True)
    header: tuple[str, ...] = ()
    while True:
        row = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or not header:
                advice = 'close every quotation mark, and write one inside a text twice: ""'
                message = f"{name}, line {row.rpartition(':')[2]}: a quotation mark is opened and never closed"
                raise unreadable(message, advice) from None
            yield Record(row, None, "BrokenCsv")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = header_of(cells, f"{name}, line {row.rpartition(':')[2]}")
        elif any(map(_UNDECODED.search, cells)):
            yield Record(row, None, "NotUtf8")
        else:
            yield record_of(header, cells, row)


def _chain(first: str, rest: io.TextIOWrapper) -> Iterator[str]:
    if first:
        yield first
    yield from rest
