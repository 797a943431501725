"""Tables (CSV, Excel) to records: the header names the columns, cells of nested columns hold JSON."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular_trainer.data.formats import COLUMNS, NESTED_COLUMNS
from vernacular_trainer.data.reading.record import Record, parse_json, unreadable

_ADVICE = "give every column of the first row a name of its own"


def header_of(cells: Sequence[str], row: str) -> tuple[str, ...]:
    """The names of the columns: those that a format knows in any case, others as they are.

    Raises StageError (DatasetUnreadable) when a name stands twice.
    """
    names = tuple(_known(cell.strip()) for cell in cells)
    require_own_names([name for name in names if name], row)
    return names


def require_own_names(names: Sequence[str], place: str) -> None:
    """Raises StageError (DatasetUnreadable) when a name stands twice."""
    if len(set(names)) != len(names):
        raise unreadable(f"{place}: two columns have the same name", _ADVICE)


def record_of(header: Sequence[str], cells: Sequence[str], row: str) -> Record:
    """One row of a table; empty cells of columns without a name are nothing, others are extra fields."""
    if any(cell.strip() for index, cell in enumerate(cells) if index >= len(header) or not header[index]):
        return Record(row, None, "ExtraField")
    if len(cells) < len(header):
        return Record(row, None, "MissingField")
    try:
        return Record(row, {name: _value(name, cell) for name, cell in zip(header, cells, strict=False) if name})
    except ValueError:
        return Record(row, None, "BrokenJson")


def _known(name: str) -> str:
    return name.casefold() if name.casefold() in COLUMNS else name


def _value(name: str, cell: str) -> object:
    if name in NESTED_COLUMNS:
        return parse_json(cell) if cell.strip() else None
    return cell
