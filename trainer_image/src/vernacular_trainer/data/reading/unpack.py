"""Compressed files as streams of their plain bytes. What a file is, its first bytes say, not its name."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from vernacular_trainer.data.reading.record import unreadable

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
# a few kilobytes can unpack to more than any pod holds
UNPACKED_LIMIT = 16 * 2**30
# what is read as a whole takes several times its size in memory, of which the pod has 4 GiB
WHOLE_LIMIT = 2**29
COMPRESSION_ERRORS = (EOFError, zlib.error, OSError)


class _Bounded(io.RawIOBase):
    """A stream that may give so many bytes and no more."""

    def __init__(self, source: Any, name: str, limit: int) -> None:
        self._read, self._left, self._name = source.read, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._read(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise unreadable(f"{self._name} is too large once it is unpacked", "split it into smaller files")
        buffer[: len(block)] = block
        return len(block)


def open_plain(path: Path, name: str, limit: int = UNPACKED_LIMIT) -> io.BufferedReader:
    """The plain bytes of a file, which may be compressed with gzip or zstd. Text in UTF-16 is given as UTF-8.

    Reading may raise COMPRESSION_ERRORS, and StageError (DatasetUnreadable) beyond `limit` bytes.
    """
    stream = path.open("rb")
    start = stream.peek(len(ZSTD))[: len(ZSTD)]
    if (opener := _opener(start)) is not None:
        stream = io.BufferedReader(_Bounded(opener(stream), name, limit), 1 << 20)
        start = stream.peek(2)[:2]
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return _utf16(stream, name)
    return stream


def _opener(start: bytes) -> Callable[[BinaryIO], Any] | None:
    if start[:2] == GZIP:
        return lambda stream: gzip.GzipFile(fileobj=stream)
    if start == ZSTD:
        import pyarrow as pa

        return lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return None


def read_whole(stream: BinaryIO, name: str, limit: int = WHOLE_LIMIT) -> bytes:
    """All bytes of a stream. Raises StageError (DatasetUnreadable) when they are more than memory should hold."""
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise unreadable(f"{name} is too large to be read as a whole", "write it as JSON Lines in UTF-8, or split it")
    return data


def _utf16(stream: BinaryIO, name: str) -> io.BufferedReader:
    try:
        text = read_whole(stream, name).decode("utf-16")
        return io.BufferedReader(cast("io.RawIOBase", io.BytesIO(text.encode())))
    except UnicodeError:
        raise unreadable(f"{name} is broken UTF-16 text", "save the file as UTF-8") from None
