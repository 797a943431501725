"""Tokenised rows on disk: Arrow IPC with input_ids large_list<int32>, labels large_list<int32>, row string.

Large lists count their tokens with 64 bits: a split may have more than 2^31.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.chat import TokenRow
from vernacular_trainer.data.files import write_atomically
from vernacular_trainer.data.token_store import TokenStore


def write_rows(path: Path, rows: TokenStore) -> None:
    """Write rows atomically, in one batch, which training reads without copying; no rows give a valid, empty table."""
    import pyarrow as pa

    tokens = pa.large_list(pa.int32())
    schema = pa.schema([("input_ids", tokens), ("labels", tokens), ("row", pa.string())])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as ids, tempfile.TemporaryFile(dir=path.parent) as labels:
        places = []
        for place, row_ids, row_labels in rows:
            places.append(place)
            ids.write(row_ids.tobytes())
            labels.write(row_labels.tobytes())
        offsets = pa.array(np.concatenate([[0], np.cumsum(rows.lengths)]), pa.int64())
        lists = [pa.LargeListArray.from_arrays(offsets, pa.array(_mapped(stream))) for stream in (ids, labels)]
        table = pa.table([*lists, pa.array(places, pa.string())], schema=schema)

        def write(stream: object) -> None:
            with pa.ipc.new_file(stream, schema) as writer:
                writer.write_table(table)

        write_atomically(path, write)


def _mapped(stream: IO[bytes]) -> NDArray[np.int32]:
    """The content of a file, which is not read into memory."""
    stream.flush()
    return np.memmap(stream, np.int32, "r") if stream.tell() else np.zeros(0, np.int32)


def read_rows(path: Path) -> list[TokenRow]:
    """The rows of a table that write_rows wrote. Raises FileNotFoundError, pyarrow.ArrowInvalid."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as stream:
        table = pa.ipc.open_file(stream).read_all()
    columns = (table.column(name).to_pylist() for name in ("row", "input_ids", "labels"))
    return [TokenRow(row, tuple(ids), tuple(labels)) for row, ids, labels in zip(*columns, strict=True)]
