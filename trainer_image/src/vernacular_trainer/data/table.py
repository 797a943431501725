"""Tokenised rows on disk: Arrow IPC with input_ids list<int32>, labels list<int32>, row string."""

from __future__ import annotations

from pathlib import Path

from vernacular_trainer.data.chat import TokenRow
from vernacular_trainer.data.files import write_atomically


def write_rows(path: Path, rows: list[TokenRow]) -> None:
    """Write rows atomically; an empty list gives a valid, empty table."""
    import pyarrow as pa

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32())), ("row", pa.string())])
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
        "row": [row.row for row in rows],
    }
    table = pa.table(columns, schema=schema)

    def write(stream: object) -> None:
        with pa.ipc.new_file(stream, schema) as writer:
            writer.write_table(table)

    write_atomically(path, write)


def read_rows(path: Path) -> list[TokenRow]:
    """The rows of a table that write_rows wrote. Raises FileNotFoundError, pyarrow.ArrowInvalid."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as stream:
        table = pa.ipc.open_file(stream).read_all()
    columns = (table.column(name).to_pylist() for name in ("row", "input_ids", "labels"))
    return [TokenRow(row, tuple(ids), tuple(labels)) for row, ids, labels in zip(*columns, strict=True)]
