"""Read review.xlsx back: which answers a person has marked, wherever rows have gone meanwhile."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vernacular_trainer.errors import refused
from vernacular_trainer.evaluation.review import Mark
from vernacular_trainer.evaluation.sheets import (
    BASE_OK,
    DIGEST,
    NO,
    REVIEW_SHEET,
    TUNED_ANSWER,
    TUNED_OK,
    YES,
    cut,
    row_digests,
)

_NEEDED = (TUNED_ANSWER, TUNED_OK, BASE_OK, DIGEST)
_ANEW = "take review.xlsx from the run's reports anew, and fill in that one"
_EMPTY: Mapping[str, bool | None] = {"": None, YES: True, NO: False}


def read_review_sheet(path: Path, report: Mapping[str, Any]) -> list[Mark]:
    """The marks of a workbook, in the order of its rows, one for each question of the report.

    Raises StageError (ArgumentRefused) that says what to do for anything but the workbook of this very report with
    yes, no or nothing in its columns OK?. Rows may be in another order.
    """
    table = _table(path)
    columns = _columns(path, table[0] if table else [])
    entries = report["questions"]
    places = {digest: place for place, digest in enumerate(row_digests(entries))}
    rows = [(number, row) for number, row in enumerate(table[1:], start=2) if any(cell.strip() for cell in row)]
    digests = [row[columns[DIGEST]].strip() for _, row in rows]
    if rows and not any(digest in places for digest in digests):
        raise refused(f"{path.name} is of another evaluation: none of its rows is of this one", _ANEW)
    marks, seen = [], set()
    for (number, row), digest in zip(rows, digests, strict=True):
        place = places.get(digest)
        if place is None or not _alike(row[columns[TUNED_ANSWER]], cut(entries[place]["tuned"]["answer"])):
            message = f"{path.name}, row {number}: its answer and its digest do not belong together, or not here"
            raise refused(message, f"sort whole rows only, and change nothing but the columns OK?; else {_ANEW}")
        if place in seen:
            raise refused(f"{path.name}, row {number}: this row is there twice", "delete one of the two")
        seen.add(place)
        tuned, base = (_said(path, number, row, columns[name]) for name in (TUNED_OK, BASE_OK))
        marks.append(Mark(place, f"row {number}", tuned, base))
    if missing := len(entries) - len(seen):
        message = f"{path.name} lacks {missing} of {len(entries)} rows"
        raise refused(message, f"leave OK? empty where you say nothing, and delete no rows; {_ANEW}")
    return marks


def _table(path: Path) -> list[list[str]]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(f"{path} cannot be read: {error.strerror}", "name the review.xlsx that you filled in") from None
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet = book.get_sheet_by_name(REVIEW_SHEET) if REVIEW_SHEET in book.sheet_names else None
    except (CalamineError, ValueError, OSError):
        raise refused(f"{path.name} is no workbook that can be read", "save it as .xlsx without a password") from None
    if sheet is None:
        raise refused(f"{path.name} has no sheet {REVIEW_SHEET}", _ANEW)
    return [[_text(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    titles = [title.strip() for title in header]
    if missing := [name for name in _NEEDED if titles.count(name) != 1]:
        message = f"{path.name} needs the column {missing[0]!r} once in its first row"
        raise refused(message, f"give the column its name back; else {_ANEW}")
    return {name: titles.index(name) for name in _NEEDED}


def _said(path: Path, number: int, row: Sequence[str], column: int) -> bool | None:
    text = row[column].strip()
    if text.casefold() not in _EMPTY:
        message = f"{path.name}, cell {chr(ord('A') + column)}{number}: {text[:20]!r} is neither yes nor no"
        raise refused(message, f"write {YES}, {NO}, or nothing")
    return _EMPTY[text.casefold()]


def _alike(cell: str, answer: str) -> bool:
    """Programs for tables change white space, ends of lines and quotes when they save."""
    return _letters(cell) == _letters(answer)


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())
