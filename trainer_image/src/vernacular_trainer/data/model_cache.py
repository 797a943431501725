"""Fetched models and files of rows on a volume that jobs share: each version is fetched once, and jobs that want it
meanwhile wait.

An entry appears by one rename, when it is complete, and its name says what is in it: the repository and the commit.
That alone keeps readers safe. The lock only spares a second download: whoever holds it touches it now and then, and a
lock that nobody touches any more is taken over. Should a holder come back from the dead, both fetch the same files
into folders of their own, and the first rename wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError

# what an entry was fetched from, for people
SOURCE_FILE = "vernacular_source.json"
# file systems take names of up to 255 bytes
_NAME_BYTES = 240

log = logging.getLogger(__name__)

# where downloads keep what is unfinished, and what they know of it
_METADATA = (".cache",)


@dataclass(frozen=True)
class Patience:
    """Seconds. A lock that does not change for `stale` is taken over: longer than file servers hide changes."""

    beat: float = 15.0
    poll: float = 5.0
    stale: float = 240.0


@dataclass
class ModelCache:
    """The folder of all entries of a `kind`. One object per process."""

    root: Path
    patience: Patience = Patience()
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    kind: str = "models"

    def entry(self, repository: str, commit: str, fetch: Callable[[Path], None]) -> Path:
        """The folder of one version; `fetch` fills a folder with it unless another job has done so, or is at it.

        `fetch` may find files of a broken-off attempt. Raises what it raises, and OSError.
        """
        folder = self.place(repository, commit)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(folder) as locked:
            if locked:
                self._fill(folder, fetch)
        return folder

    def place(self, repository: str, version: str) -> Path:
        """Where the folder of a version is, or will be."""
        return self._versions(repository) / version

    def drafts(self, repository: str) -> Iterator[Path]:
        """Folders of versions that are being fetched, or were."""
        return self._versions(repository).glob("*.partial-*")

    def _versions(self, repository: str) -> Path:
        name = repository.replace("/", "--")
        if len(name.encode()) > _NAME_BYTES:
            name = hashlib.sha256(repository.encode()).hexdigest()
        return self.root / self.kind / name

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[bool]:
        """False once the entry is there; True when this process is to make it."""
        lock = folder.with_name(f"{folder.name}.lock")
        if not self._acquire(lock, folder):
            yield False
            return
        done = threading.Event()
        beating = threading.Thread(target=self._beat, args=(lock, done), name="model-cache", daemon=True)
        beating.start()
        try:
            yield True
        finally:
            done.set()
            beating.join()
            if _read(lock) == self.owner:
                lock.unlink(missing_ok=True)

    def _acquire(self, lock: Path, folder: Path) -> bool:
        seen, since = "", time.monotonic()
        while not folder.is_dir():
            try:
                descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o660)
            except FileExistsError:
                found = _state(lock)
                if found != seen:
                    if not seen:
                        log.info("another job fetches this into the shared cache; waiting for it")
                    seen, since = found, time.monotonic()
                elif time.monotonic() - since > self.patience.stale:
                    log.warning("the job that fetched this is gone; going on in its place")
                    _remove_if(lock, found)
                    seen = ""
                time.sleep(self.patience.poll)
                continue
            with os.fdopen(descriptor, "w") as stream:
                stream.write(self.owner)
            return True
        return False

    def _beat(self, lock: Path, done: threading.Event) -> None:
        while not done.wait(self.patience.beat):
            with contextlib.suppress(OSError):
                os.utime(lock)

    def _fill(self, folder: Path, fetch: Callable[[Path], None]) -> None:
        if folder.is_dir():
            return
        partial = folder.with_name(f"{folder.name}.partial-{self.owner}")
        partial.mkdir(exist_ok=True)
        broken_off = [item for item in folder.parent.glob(f"{folder.name}.partial-*") if item != partial]
        for other in broken_off:
            _salvage(other, partial)
        try:
            fetch(partial)
            partial.rename(folder)
        except Exception:
            # somebody took this process for dead, and was faster: its entry is as good
            if not folder.is_dir():
                raise
            broken_off.append(partial)
        for other in broken_off:
            shutil.rmtree(other, ignore_errors=True)


def shared_entry(cache: str, kind: str, repository: str, version: str, fetch: Callable[[Path], None]) -> Path:
    """The entry of the cache in this folder. Raises StageError (ArgumentRefused) when it cannot be written, and what
    `fetch` raises.
    """
    with writable(cache):
        return ModelCache(Path(cache), kind=kind).entry(repository, version, fetch)


@contextlib.contextmanager
def writable(cache: str) -> Iterator[None]:
    """Raises StageError (ArgumentRefused) when the cache in this folder cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        message = f"the claim of storage.modelCache cannot be written: {error.strerror}"
        advice = "name a claim that pods of this namespace can write, or remove storage.modelCache"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice, cache) from None


def _read(lock: Path) -> str:
    try:
        return lock.read_text()
    except OSError:
        return ""


def _state(lock: Path) -> str:
    """Changes whenever the lock is touched or changes hands."""
    try:
        return f"{_read(lock)} {lock.stat().st_mtime_ns}"
    except OSError:
        return ""


def _remove_if(lock: Path, state: str) -> None:
    if state == _state(lock):
        lock.unlink(missing_ok=True)


def _salvage(source: Path, target: Path) -> None:
    """Take over complete files of a broken-off download: they got their names by a rename and never change again."""
    for file in source.rglob("*"):
        name = file.relative_to(source)
        unfinished = name.parts[:1] == _METADATA and file.suffix != ".metadata"
        if unfinished or not file.is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            os.link(file, target / name)
