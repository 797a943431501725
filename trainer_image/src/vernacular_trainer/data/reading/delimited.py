"""CSV with a header; separated by commas, semicolons or tabs, as the header shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import BinaryIO, TextIO

from vernacular_trainer.data.reading.columns import header_of, record_of
from vernacular_trainer.data.reading.record import Record, unreadable

_UNDECODED = re.compile("[\udc80-\udcff]")
_LONGEST_FIELD = 2**31 - 1
_ADVICE = 'close every quotation mark, and write one inside a text twice: ""'


def read_delimited(stream: BinaryIO, name: str, columns: Mapping[str, str]) -> Iterator[Record]:
    """A record for every row below the header, at the line where it begins. Raises StageError (DatasetUnreadable)."""
    # the module's own limit of 128 KiB would refuse long texts
    csv.field_size_limit(_LONGEST_FIELD)
    # lines end at "\n" alone, as editors count them
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="\n")
    first = _to_header(text)
    delimiter = max(",;\t", key=first[-1].count)
    reader = csv.reader(chain(first, text), delimiter=delimiter, strict=True)
    header: tuple[str, ...] = ()
    while True:
        start = reader.line_num + 1
        row, place = f"{name}:{start}", f"{name}, line {start}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or not header:
                raise unreadable(f"{place}: a quotation mark is opened and never closed", _ADVICE) from None
            if reader.line_num > start:
                # rows between may be good ones, and nobody can tell where they begin
                message = f"{place}: the quotation marks from here to line {reader.line_num} do not match"
                raise unreadable(message, _ADVICE) from None
            yield Record(row, None, "BrokenCsv")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            if any(map(_UNDECODED.search, cells)):
                raise unreadable(f"{place}: the header is not UTF-8 text", "save the file as UTF-8")
            header = header_of(cells, place, columns)
        elif any(map(_UNDECODED.search, cells)):
            yield Record(row, None, "NotUtf8")
        else:
            yield record_of(header, cells, row)


def _to_header(text: TextIO) -> list[str]:
    """The lines up to the first one that is not empty, which shows the separator."""
    lines: list[str] = []
    for line in text:
        if line.strip(" ,;\t\r\n"):
            return [*lines, line]
        lines.append("\n")
    return lines or ["\n"]
