"""Read review.xlsx back: which answers a person has marked, wherever rows have gone meanwhile."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import TextInReports
from vernacular_trainer.errors import refused
from vernacular_trainer.evaluation.review import Mark
from vernacular_trainer.evaluation.sheets import (
    BASE_ANSWER,
    BASE_OK,
    DIGEST,
    NO,
    REVIEW_SHEET,
    TUNED_ANSWER,
    TUNED_OK,
    YES,
    row_digest,
    row_digests,
)

_NEEDED = (TUNED_ANSWER, TUNED_OK, BASE_ANSWER, BASE_OK, DIGEST)
_RUN, _VOLUME = "the run's reports", "the folder reports/ of the job's workspace volume"
_EMPTY: Mapping[str, bool | None] = {"": None, YES: True, NO: False}


def read_review_sheet(path: Path, report: Mapping[str, Any]) -> list[Mark]:
    """The marks of a workbook, in the order of its rows, one for each question of the report.

    The workbook may be the one of the report, or the one that the job's volume has, whose texts the report may lack.
    Raises StageError (ArgumentRefused) that says what to do for anything but one of these with yes, no or nothing in
    its columns OK?. Rows may be in another order.
    """
    anew = f"take review.xlsx from {_source(report)} anew, and fill in that one"
    table = _table(path, anew)
    columns = _columns(path, table[0] if table else [], anew)
    entries = report["questions"]
    whole = (entry["row_digest"] for entry in entries)
    places = {digest: place for digests in (row_digests(entries), whole) for place, digest in enumerate(digests)}
    rows = [(number, row) for number, row in enumerate(table[1:], start=2) if any(cell.strip() for cell in row)]
    digests = [row[columns[DIGEST]].strip() for _, row in rows]
    if rows and not any(digest in places for digest in digests):
        raise refused(f"{path.name} is of another evaluation: none of its rows is of this one", anew)
    marks, seen = [], set()
    for (number, row), digest in zip(rows, digests, strict=True):
        place = places.get(digest)
        answers = row[columns[BASE_ANSWER]], row[columns[TUNED_ANSWER]]
        if place is None or row_digest(place, entries[place]["digest"], *answers) != digest:
            message = f"{path.name}, row {number}: its answers and its digest do not belong together, or not here"
            raise refused(message, f"sort whole rows only, and change nothing but the columns OK?; else {anew}")
        if place in seen:
            raise refused(f"{path.name}, row {number}: this row is there twice", "delete one of the two")
        seen.add(place)
        tuned, base = (_said(path, number, row, columns[name]) for name in (TUNED_OK, BASE_OK))
        marks.append(Mark(place, f"row {number}", tuned, base))
    if missing := len(entries) - len(seen):
        message = f"{path.name} lacks {missing} of {len(entries)} rows"
        raise refused(message, f"leave OK? empty where you say nothing, and delete no rows; {anew}")
    return marks


def _source(report: Mapping[str, Any]) -> str:
    """Where the workbook of a report is."""
    return _VOLUME if report.get("text_in_reports") == TextInReports.NONE else _RUN


def _table(path: Path, anew: str) -> list[list[str]]:
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
        raise refused(f"{path.name} has no sheet {REVIEW_SHEET}", anew)
    return [[_text(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _columns(path: Path, header: Sequence[str], anew: str) -> dict[str, int]:
    titles = [title.strip() for title in header]
    if missing := [name for name in _NEEDED if titles.count(name) != 1]:
        message = f"{path.name} needs the column {missing[0]!r} once in its first row"
        raise refused(message, f"give the column its name back; else {anew}")
    return {name: titles.index(name) for name in _NEEDED}


def _said(path: Path, number: int, row: Sequence[str], column: int) -> bool | None:
    text = row[column].strip()
    if text.casefold() not in _EMPTY:
        message = f"{path.name}, cell {chr(ord('A') + column)}{number}: {text[:20]!r} is neither yes nor no"
        raise refused(message, f"write {YES}, {NO}, or nothing")
    return _EMPTY[text.casefold()]
