"""The memory of a process and all its children together, while something runs."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_SECONDS = 0.2


class Watch:
    """Samples what this process and its children hold; what they share counts once. `peak`: the highest, in GiB."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(_pss, _tree(os.getpid()))) / 2**20)
            if self._ended.wait(_SECONDS):
                return


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(file).split():
            yield from _tree(int(child))


def _pss(pid: int) -> int:
    found = _PSS.search(_read(Path(f"/proc/{pid}/smaps_rollup")))
    return int(found.group(1)) if found else 0


def _read(file: Path) -> str:
    """The text of a file, "" when its process is gone."""
    try:
        return file.read_text()
    except OSError:
        return ""
