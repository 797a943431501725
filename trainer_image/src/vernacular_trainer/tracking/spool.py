"""Metrics are first written to the workspace and sent to MLflow from there, so that a training never waits.

Every attempt appends to its own file, `attempt-<n>.jsonl`, one object a line: `{"step", "timestamp" (ms), "metrics"}`.
`attempt-<n>.sent` holds the number of bytes that MLflow has confirmed. Sending again is harmless: MLflow keeps a point
of equal key, step, timestamp and value once. What a full disk does not take waits in memory until it does.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.data.files import write_bytes

MAX_POINTS_PER_REQUEST = 1000
# lines that may wait for room on the disk: a few megabytes
MOST_WAITING = 10_000


@dataclass(frozen=True)
class Point:
    """One measurement; `timestamp` in milliseconds."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True)
class Batch:
    """Points of one file and the byte offset that is confirmed once they have arrived."""

    file: SpoolFile
    points: tuple[Point, ...]
    end: int


@dataclass(frozen=True)
class SpoolFile:
    """The measurements of one attempt and how many bytes of them have arrived."""

    path: Path

    @property
    def offset_path(self) -> Path:
        return self.path.with_suffix(".sent")

    @property
    def attempt(self) -> int:
        return int(self.path.stem.removeprefix("attempt-"))

    def sent(self) -> int:
        """Number of bytes that MLflow has confirmed."""
        try:
            return int(self.offset_path.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def confirm(self, offset: int) -> None:
        """Remember durably that everything before `offset` has arrived."""
        write_bytes(self.offset_path, str(offset).encode())

    def batches(self, start: int) -> Iterator[Batch]:
        """Complete lines from byte `start` on, in batches for one request each. A torn last line is left out."""
        points: list[Point] = []
        position = start
        for line in self._complete_lines(start):
            added = _points(line)
            if points and len(points) + len(added) > MAX_POINTS_PER_REQUEST:
                yield Batch(self, tuple(points), position)
                points = []
            points.extend(added)
            position += len(line)
        if position > start and points:
            yield Batch(self, tuple(points), position)

    def points(self) -> Iterator[Point]:
        """Every complete point of the file."""
        for line in self._complete_lines(0):
            yield from _points(line)

    def _complete_lines(self, start: int) -> Iterator[bytes]:
        with self.path.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if line.endswith(b"\n"):
                    yield line


def spool_files(folder: Path) -> list[SpoolFile]:
    """The files of all attempts so far, oldest attempt first."""
    return sorted((SpoolFile(path) for path in folder.glob("attempt-*.jsonl")), key=lambda file: file.attempt)


def unsent_batches(folder: Path) -> Iterator[Batch]:
    """What has not arrived yet, of every attempt."""
    for file in spool_files(folder):
        yield from file.batches(file.sent())


class Spool:
    """Appends the measurements of one attempt.

    A resumed attempt repeats the steps after its checkpoint; points that an earlier attempt noted are not noted again.
    """

    def __init__(self, folder: Path, attempt: int, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._known = _last_steps(folder)
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        # never held while the disk is waited for longer than one write takes
        self._lock = threading.Lock()
        self._descriptor = _open_for_append(folder / f"attempt-{attempt}.jsonl")

    @property
    def waiting(self) -> int:
        """Number of lines that the disk has not taken yet."""
        return len(self._waiting)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line; visible to other processes when this returns.

        Raises OSError, for example on a full disk: the line waits, and is written before the next one. Of lines that
        wait at most MOST_WAITING are kept.
        """
        fresh = {key: float(value) for key, value in metrics.items() if self._known.get(key, -1) < step}
        if not fresh:
            return
        line = json.dumps({"step": step, "timestamp": int(self._clock() * 1000), "metrics": fresh}) + "\n"
        self._known.update(dict.fromkeys(fresh, step))
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(line.encode())
            self._write_waiting()

    def sync(self) -> None:
        """Make what was appended survive a crash of the machine. Raises OSError."""
        with self._lock:
            self._write_waiting()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Sync and close. The spool cannot be used afterwards. Raises OSError."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)

    def _write_waiting(self) -> None:
        """A disk that is nearly full takes a part of a line: the rest of it has to come next."""
        while self._waiting:
            line = self._waiting[0]
            written = os.write(self._descriptor, line)
            if written < len(line):
                self._waiting[0] = line[written:]
            else:
                self._waiting.popleft()


def _open_for_append(path: Path) -> int:
    """Open for appending; a torn line of a killed process becomes a line of its own, which readers skip."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    if torn:
        os.write(descriptor, b"\n")
    return descriptor


def _last_steps(folder: Path) -> dict[str, int]:
    last: dict[str, int] = {}
    for file in spool_files(folder):
        for point in file.points():
            last[point.key] = max(point.step, last.get(point.key, -1))
    return last


def _points(line: bytes) -> list[Point]:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return []
    return [Point(key, value, entry["step"], entry["timestamp"]) for key, value in entry["metrics"].items()]
