"""Parquet files; rows are counted from 1."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from vernacular_trainer.data.reading.record import Record, unreadable

PARQUET = b"PAR1"
_BATCH_ROWS = 1000


def read_parquet(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every row. Raises StageError (DatasetUnreadable) for a damaged file."""
    import pyarrow as pa
    from pyarrow import parquet

    source = stream if stream.seekable() else io.BytesIO(stream.read())
    number = 0
    try:
        for batch in parquet.ParquetFile(source).iter_batches(_BATCH_ROWS):
            for value in batch.to_pylist():
                number += 1
                yield Record(f"{name}:{number}", value)
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError):
        raise unreadable(f"{name} is damaged after row {number}", "write the Parquet file again") from None
