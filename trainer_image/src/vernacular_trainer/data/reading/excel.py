"""Excel workbooks: the first row of each sheet that is not empty names the columns."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from vernacular_trainer.data.reading.columns import header_of, record_of
from vernacular_trainer.data.reading.record import Record, unreadable
from vernacular_trainer.data.reading.unpack import UNPACKED_LIMIT

ZIP = b"PK\x03\x04"


def read_excel(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every row of every sheet, hidden ones too. Raises StageError (DatasetUnreadable)."""
    from python_calamine import CalamineError, CalamineWorkbook

    data = io.BytesIO(stream.read())
    broken = unreadable(f"{name} is no Excel workbook that can be read", "save it as .xlsx without a password")
    try:
        with zipfile.ZipFile(data) as archive:
            size = sum(item.file_size for item in archive.infolist())
    except zipfile.BadZipFile:
        raise broken from None
    if size > UNPACKED_LIMIT:
        raise unreadable(f"{name} is too large once it is unpacked", "split it into smaller files")
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data.getvalue()))
        sheets = [(title, workbook.get_sheet_by_name(title)) for title in workbook.sheet_names]
    except (CalamineError, OSError, ValueError):
        raise broken from None
    for title, sheet in sheets:
        yield from _sheet(sheet, f"{name}:{title}")


def _sheet(sheet: Any, place: str) -> Iterator[Record]:
    header: tuple[str, ...] = ()
    for number, values in enumerate(sheet.to_python(skip_empty_area=False), start=1):
        cells = [_text(value) for value in values]
        if not any(cell.strip() for cell in cells):
            continue
        row = f"{place}!A{number}"
        if not header:
            header = header_of(cells, row)
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
