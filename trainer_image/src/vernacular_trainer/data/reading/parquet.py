"""Parquet files; rows are counted from 1."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from vernacular_trainer.data.reading.columns import require_own_names
from vernacular_trainer.data.reading.record import Record, unreadable
from vernacular_trainer.data.reading.unpack import read_whole

PARQUET = b"PAR1"
_BATCH_ROWS = 1000


def read_parquet(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every row. Raises StageError (DatasetUnreadable) for a damaged file, and when two columns have the
    same name.
    """
    import pyarrow as pa
    from pyarrow import parquet

    source = stream if stream.seekable() else io.BytesIO(read_whole(stream, name))
    number = 0
    try:
        file = parquet.ParquetFile(source)
        require_own_names(file.schema_arrow.names, name)
        schema = file.schema_arrow
        in_utc = pa.schema([(field.name, _nested(field.type, _without_zone)) for field in schema])
        readable = pa.schema([(field.name, _nested(field.type, _as_text)) for field in schema])
        for batch in file.iter_batches(_BATCH_ROWS):
            for value in pa.Table.from_batches([batch]).cast(in_utc).cast(readable).to_pylist():
                number += 1
                yield Record(f"{name}:{number}", {column: _present(item) for column, item in value.items()})
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, OverflowError):
        raise unreadable(f"{name} is damaged after row {number}", "write the Parquet file again") from None


def _without_zone(kind: Any) -> Any:
    """A type of Arrow with instants in UTC, because the zones of a file may be unknown here."""
    from pyarrow import timestamp, types

    return timestamp(kind.unit) if types.is_timestamp(kind) else kind


def _as_text(kind: Any) -> Any:
    """A type of Arrow with texts in place of times: Python's own hold neither nanoseconds nor every year."""
    from pyarrow import string, types

    return string() if types.is_temporal(kind) and not types.is_interval(kind) else kind


def _nested(kind: Any, change: Callable[[Any], Any]) -> Any:
    """`kind` with everything in it changed."""
    from pyarrow import list_, struct, types

    if types.is_list(kind) or types.is_large_list(kind):
        return list_(_nested(kind.value_type, change))
    if types.is_struct(kind):
        return struct([(field.name, _nested(field.type, change)) for field in kind])
    return change(kind)


def _present(value: Any) -> Any:
    """A value without members that are nothing: every struct of a column has the members of all of them."""
    if isinstance(value, dict):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value
