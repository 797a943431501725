"""The names of columns; tables (CSV, Excel) to records: the header names them, cells of nested columns hold JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vernacular_trainer.data.formats import COLUMNS, NESTED_COLUMNS
from vernacular_trainer.data.reading.record import Record, parse_json, unreadable

_ADVICE = "give every column of the first row a name of its own"


def header_of(cells: Sequence[str], row: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the columns: renamed by `columns`, else those that a format knows in any case, others as they are.

    Raises StageError (DatasetUnreadable) when a name stands twice.
    """
    names = tuple(_name(cell.strip(), columns) for cell in cells)
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


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """A record that is no row of a table with its keys renamed by `columns`."""
    if not columns or not isinstance(record.value, dict):
        return record
    value = {columns.get(name, name): item for name, item in record.value.items()}
    return Record(record.row, value) if len(value) == len(record.value) else Record(record.row, None, "AmbiguousFormat")


def _name(cell: str, columns: Mapping[str, str]) -> str:
    known = cell.casefold() if cell.casefold() in COLUMNS else cell
    return columns.get(cell) or columns.get(known, known)


def _value(name: str, cell: str) -> object:
    if name in NESTED_COLUMNS:
        return parse_json(cell) if cell.strip() else None
    return cell
