"""Room in the cache of files: what was not used for longest goes, and nothing that a job reads or fetches.

A job says that it uses an entry by a mark beside it, which it touches now and then; so does, by its lock, one that
fetches. An entry goes by a rename first: who set a mark before it gets it back, and who comes later finds nothing there
and fetches anew. All times are those of the file server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vernacular_trainer.data.model_cache import Patience

USUAL = Patience()
_DRAFT, _USE, _GONE = ".partial-", ".use-", ".gone-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    folder: Path
    used: float
    size: int


@contextlib.contextmanager
def in_use(entry: Path, patience: Patience = USUAL) -> Iterator[None]:
    """While this lasts, nobody removes the entry, which may not be there yet."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    mark = entry.with_name(f"{entry.name}{_USE}{uuid.uuid4().hex}")
    mark.touch()
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(mark, done, patience.beat), name="cache-use", daemon=True)
    beating.start()
    try:
        yield
        with contextlib.suppress(OSError):
            os.utime(entry)
    finally:
        done.set()
        beating.join()
        mark.unlink(missing_ok=True)


def make_room(root: Path, most: int, patience: Patience = USUAL) -> tuple[str, ...]:
    """Remove entries below `root`, those first that were not used for longest, until all have `most` bytes at most, or
    only such are left as jobs use. The names of what was removed.
    """
    now = _now(root)
    for gone in root.glob(f"*/*{_GONE}*"):
        # of a process that ended in between
        if (touched := _touched(gone)) is not None and now - touched > patience.stale:
            shutil.rmtree(gone, ignore_errors=True)
    entries = sorted(_entries(root), key=lambda entry: entry.used)
    size, removed = sum(entry.size for entry in entries), []
    for entry in entries:
        if size <= most:
            break
        if not _busy(entry.folder, now, patience) and _removed(entry.folder, now, patience):
            size -= entry.size
            removed.append(f"{entry.folder.parent.name}/{entry.folder.name}")
            log.info("removed %s from the shared cache: %d bytes", entry.folder.name, entry.size)
    return tuple(removed)


def _removed(folder: Path, now: float, patience: Patience) -> bool:
    gone = folder.with_name(f"{folder.name}{_GONE}{uuid.uuid4().hex}")
    try:
        folder.rename(gone)
    except OSError:
        # another job was faster
        return False
    if _busy(folder, now, patience):
        # somebody has begun to use it: unless it is being fetched anew by now, it comes back
        with contextlib.suppress(OSError):
            gone.rename(folder)
            return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _busy(folder: Path, now: float, patience: Patience) -> bool:
    """Whether somebody uses the entry, or fetches it."""
    name = folder.name.partition(_DRAFT)[0]
    marks = [folder.with_name(f"{name}.lock"), *folder.parent.glob(f"{name}{_USE}*")]
    return any(now - touched <= patience.stale for mark in marks if (touched := _touched(mark)) is not None)


def _touched(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _entries(root: Path) -> Iterator[_Entry]:
    """All versions, and what is left of broken-off downloads."""
    for folder in root.glob("*/*"):
        if folder.is_dir() and _GONE not in folder.name and (used := _touched(folder)) is not None:
            size = 0
            # files of an entry that another job removes meanwhile are no more
            with contextlib.suppress(FileNotFoundError):
                for file in folder.rglob("*"):
                    size += file.stat().st_size if file.is_file() else 0
            yield _Entry(folder, used, size)


def _now(root: Path) -> float:
    """The time by the clock that the marks are touched by, which need not be this machine's."""
    probe = root / f".now-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _beat(mark: Path, done: threading.Event, seconds: float) -> None:
    while not done.wait(seconds):
        with contextlib.suppress(OSError):
            os.utime(mark)
