"""Excel workbooks for people."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vernacular_trainer.data.files import write_bytes

# a fixed date of creation: equal contents give equal files
_CREATED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None)


@contextmanager
def workbook(path: Path, **options: Any) -> Iterator[Any]:
    """A workbook to fill, written to `path` at the end; `options` are xlsxwriter's."""
    import xlsxwriter

    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True, **options}) as book:
        book.set_properties({"created": _CREATED})
        yield book
    write_bytes(path, data.getvalue())
