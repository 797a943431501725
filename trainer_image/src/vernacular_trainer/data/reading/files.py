"""Which reader a file needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from vernacular_trainer.data.reading.blocks import Block, BlockReader, in_blocks
from vernacular_trainer.data.reading.columns import renamed
from vernacular_trainer.data.reading.delimited import read_delimited
from vernacular_trainer.data.reading.excel import ZIP, read_excel
from vernacular_trainer.data.reading.json_array import STARTS_ARRAY, read_json_array
from vernacular_trainer.data.reading.json_lines import read_json_lines
from vernacular_trainer.data.reading.parquet import PARQUET, read_parquet
from vernacular_trainer.data.reading.record import Record, unreadable
from vernacular_trainer.data.reading.unpack import COMPRESSION_ERRORS, GZIP, ZSTD, open_plain

_PEEK_BYTES = 4096
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_DELIMITED = re.compile(r"\.(csv|tsv)(\.(gz|gzip|zst|zstd))?$", re.IGNORECASE)


def read_records(path: Path, name: str, columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[Record]:
    """The records of a file in their order; `name` is the file as the user wrote it. `columns`: names in the file, and
    what the formats call them.

    Raises StageError (DatasetUnreadable) when no reader can go on.
    """
    for block in read_blocks(path, name, columns):
        yield from block


def read_blocks(path: Path, name: str, columns: Mapping[str, str]) -> Iterator[Block]:
    """The same in blocks, which other processes can iterate; lines of JSON are parsed there."""
    try:
        with open_plain(path, name) as stream:
            yield from _reader(stream.peek(_PEEK_BYTES), name)(stream, name, columns)
    except COMPRESSION_ERRORS:
        raise unreadable(f"{name} is damaged and cannot be unpacked", "compress and copy the file again") from None


def _reader(start: bytes, name: str) -> BlockReader:
    if start.startswith((GZIP, ZSTD)):
        raise unreadable(f"{name} is compressed twice", "compress the file once")
    if start.startswith(_OLD_EXCEL):
        raise unreadable(f"{name} is a workbook of an old or a protected kind", "save it as .xlsx without a password")
    if start.startswith(ZIP):
        return in_blocks(read_excel)
    if start.startswith(PARQUET):
        return _of_objects(read_parquet)
    if _DELIMITED.search(name):
        return in_blocks(read_delimited)
    array = STARTS_ARRAY.match(start.removeprefix(b"\xef\xbb\xbf"))
    return _of_objects(read_json_array) if array else read_json_lines


def _of_objects(read: Callable[[BinaryIO, str], Iterator[Record]]) -> BlockReader:
    """A reader of files in which every record has keys of its own."""
    return in_blocks(lambda stream, name, columns: (renamed(record, columns) for record in read(stream, name)))
