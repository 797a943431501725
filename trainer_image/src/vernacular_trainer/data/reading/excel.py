"""Excel workbooks: the first row of each sheet that is not empty names the columns."""

from __future__ import annotations

import datetime
import functools
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO

from vernacular_trainer.data.reading.columns import header_of, record_of
from vernacular_trainer.data.reading.record import Record, unreadable
from vernacular_trainer.data.reading.unpack import WHOLE_LIMIT, read_whole

ZIP = b"PK\x03\x04"

# a full sheet of 1,048,576 rows and 19 columns; beyond it memory runs out
_MOST_CELLS = 20_000_000
_CELL = re.compile(rb"""\sr=["']([A-Z]{1,3})(\d{1,7})["']""")
_LONGEST_REFERENCE = len(' r="XFD1048576"')
_BLOCK = 1 << 20
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def read_excel(stream: BinaryIO, name: str, columns: Mapping[str, str]) -> Iterator[Record]:
    """A record for every row of every sheet, hidden ones too. Raises StageError (DatasetUnreadable)."""
    from python_calamine import CalamineError, CalamineWorkbook

    data = io.BytesIO(read_whole(stream, name))
    broken = unreadable(f"{name} is no Excel workbook that can be read", "save it as .xlsx without a password")
    try:
        with zipfile.ZipFile(data) as archive:
            _check_size(archive, name)
        data.seek(0)
        workbook = CalamineWorkbook.from_filelike(data)
        sheets = [(title, workbook.get_sheet_by_name(title)) for title in workbook.sheet_names]
    except (CalamineError, *_BROKEN_ZIP, ValueError):
        raise broken from None
    for title, sheet in sheets:
        yield from _sheet(sheet, f"{name}:{title}", columns)


def _check_size(archive: zipfile.ZipFile, name: str) -> None:
    """Raises StageError (DatasetUnreadable) for a workbook that unpacked does not fit into memory, and for a sheet with
    a cell so far away that the rectangle up to it does not: calamine makes the whole of it.
    """
    if sum(item.file_size for item in archive.infolist()) > WHOLE_LIMIT:
        raise unreadable(f"{name} is too large once it is unpacked", "split it into smaller files")
    for item in archive.infolist():
        if item.filename.lower().startswith("xl/worksheets/"):
            with archive.open(item) as sheet:
                column, row = _last_cell(sheet)
            if _column_number(column) * row > _MOST_CELLS:
                message = f"{name}: a sheet reaches from A1 to {column}{row}, which are too many cells"
                raise unreadable(message, "delete cells far away from the table, or split the table")


def _last_cell(sheet: IO[bytes]) -> tuple[str, int]:
    """The last column and the last row in which the XML of a sheet has a cell."""
    column, row, rest = "A", 1, b""
    while block := sheet.read(_BLOCK):
        # what the end of a block cuts in two is found with the next one
        block = rest + block
        found = {(letters.decode(), int(digits)) for letters, digits in _CELL.findall(block)}
        column = max((column, *(letters for letters, _ in found)), key=_column_number)
        row = max((row, *(number for _, number in found)))
        rest = block[-_LONGEST_REFERENCE:]
    return column, row


def _column_number(letters: str) -> int:
    """A is 1, Z 26, AA 27."""
    return functools.reduce(lambda number, letter: 26 * number + ord(letter) - 64, letters, 0)


def _sheet(sheet: Any, place: str, columns: Mapping[str, str]) -> Iterator[Record]:
    header: tuple[str, ...] = ()
    for number, values in enumerate(sheet.to_python(skip_empty_area=False), start=1):
        cells = [_text(value) for value in values]
        if not any(cell.strip() for cell in cells):
            continue
        row = f"{place}!A{number}"
        if not header:
            header = header_of(cells, row, columns)
        else:
            yield record_of(header, cells, row)


def _text(value: Any) -> str:
    """A cell as people read it: whole numbers without a point, dates in ISO form."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return str(value)
