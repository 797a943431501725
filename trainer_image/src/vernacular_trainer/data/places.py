"""The places of all findings, however many: packed on disk while they are found, in one file for whoever mends rows."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO

from vernacular_trainer.data.files import write_atomically

HEADER = ("code", "row", "other row")
# so much stays in memory
_IN_MEMORY = 1 << 22
_LINES_AT_ONCE = 5000

Line = tuple[str, str, str]


class Places:
    """Code and place of each finding, and the place of the row beside it if there is one, as packed CSV in a temporary
    file of their own. `folder`: where that file is; None: where the system keeps such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.count = 0
        self._folder = folder
        self._waiting: list[Line] = []
        self._stream: IO[bytes] | None = None

    def add(self, code: str, row: str, other: str = "") -> None:
        self.count += 1
        self._waiting.append((code, row, other))
        if len(self._waiting) == _LINES_AT_ONCE:
            self._pack()

    def save(self, path: Path) -> None:
        """Write all that was added until now; no file when there is nothing."""
        if not self.count:
            path.unlink(missing_ok=True)
            return
        stream = self._pack()
        stream.seek(0)

        def write(target: BinaryIO) -> None:
            target.write(packed([HEADER]))
            shutil.copyfileobj(stream, target)

        write_atomically(path, write)
        stream.seek(0, io.SEEK_END)

    def _pack(self) -> IO[bytes]:
        if not self._stream:
            folder = str(self._folder) if self._folder else None
            if self._folder:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._stream = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=folder)  # noqa: SIM115
        if self._waiting:
            self._stream.write(packed(self._waiting))
            self._waiting.clear()
        return self._stream


def packed(lines: Iterable[Line]) -> bytes:
    """Lines of CSV as gzip; what several calls give may be put one behind the other."""
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return _compressed(text.getvalue())


def _compressed(text: str) -> bytes:
    # the same for the same findings, whenever they were found
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def shortened(path: Path, most: int) -> Path:
    """The file, or, where it has more than `most` bytes, one beside it with its first lines and how many it lacks."""
    if path.stat().st_size <= most:
        return path
    short = path.with_name(f"cut-{path.name}")

    def write(target: BinaryIO) -> None:
        size = left = 0
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            blocks = _blocks(stream)
            for block in blocks:
                data = _compressed("".join(block))
                if size + len(data) > most:
                    left = sum(map(len, chain([block], blocks)))
                    break
                size += target.write(data)
        if left:
            target.write(packed([("", f"and {left} more: reports/{path.name} in the workspace has all", "")]))

    write_atomically(short, write)
    return short


def _blocks(stream: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in stream:
        block.append(line)
        if len(block) == _LINES_AT_ONCE:
            yield block
            block = []
    if block:
        yield block
