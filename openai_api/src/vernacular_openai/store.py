"""Uploaded files on a volume, by namespace: whole or not at all. Who may read them is decided elsewhere."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from vernacular_openai.config import FilesConfig
from vernacular_openai.errors import ApiError, refused

_FILE_ID = re.compile(r"file-[0-9a-f]{24}")
# counted for each file beside its bytes, so that a namespace cannot store any number of small ones
_FILE_COSTS = 4096
_CONTENT, _META = "content", "file.json"


@dataclass(frozen=True)
class StoredFile:
    """What is known of a file. `created_at` in seconds since 1970."""

    id: str
    filename: str
    bytes: int
    created_at: int
    purpose: str


class FileStore:
    """Files below `folder`, which one process uses. A space is a namespace with its uid. Safe for threads."""

    def __init__(self, folder: Path, limits: FilesConfig) -> None:
        """Removes what an earlier process did not finish."""
        self._folder = folder
        self._limits = limits
        self._incoming = folder / ".incoming"
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def begin(self, space: str) -> Upload:
        """A new file; a context, after which it is gone unless it was finished."""
        return Upload(self, space, self._incoming / f"file-{secrets.token_hex(12)}")

    def all(self, space: str) -> list[StoredFile]:
        """The files of a space, oldest first."""
        folder = self._folder / space
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        found = (self.get(space, name) for name in names)
        return sorted((item for item in found if item), key=lambda item: (item.created_at, item.id))

    def get(self, space: str, file_id: str) -> StoredFile | None:
        """A file, if there is one of this id."""
        if not _FILE_ID.fullmatch(file_id):
            return None
        try:
            return StoredFile(**json.loads((self._folder / space / file_id / _META).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def path(self, space: str, file_id: str) -> Path:
        """Where the bytes lie of a file that `get` has found."""
        return self._folder / space / file_id / _CONTENT

    def delete(self, space: str, file: StoredFile) -> None:
        """Remove a file; whoever reads it reads on. Raises FileNotFoundError when it is gone."""
        gone = self._incoming / f"{file.id}.deleted"
        (self._folder / space / file.id).rename(gone)
        shutil.rmtree(gone)
        self.give_back(space, file.bytes + _FILE_COSTS)

    def take(self, space: str, size: int) -> None:
        """Count bytes of a space. Raises ApiError when they become too many."""
        with self._lock:
            taken = self._taken.get(space)
            if taken is None:
                taken = sum(item.bytes + _FILE_COSTS for item in self.all(space))
            if taken + size > self._limits.max_namespace_bytes:
                raise refused(
                    f"The files of this namespace would take more than {self._limits.max_namespace_mib} MiB: delete"
                    " those that no job needs any more.",
                    "file",
                    "quota_exceeded",
                )
            self._taken[space] = taken + size

    def give_back(self, space: str, size: int) -> None:
        """Bytes that were taken are not there any more."""
        with self._lock:
            if space in self._taken:
                self._taken[space] -= size

    def check_size(self, size: int) -> None:
        """Raises ApiError when a file is larger than may be."""
        if size > self._limits.max_file_bytes:
            raise ApiError(
                413,
                f"A file may have at most {self._limits.max_file_mib} MiB. Divide it, or let a FineTuneJob read it"
                " from a claim or a bucket (pvc:// or s3://), which takes any size.",
                code="file_too_large",
                param="file",
            )

    def publish(self, space: str, folder: Path) -> None:
        """Let a file that is whole appear."""
        (self._folder / space).mkdir(exist_ok=True)
        folder.rename(self._folder / space / folder.name)


class Upload:
    """A file that arrives."""

    def __init__(self, store: FileStore, space: str, folder: Path) -> None:
        self._store = store
        self._space = space
        self._folder = folder
        self._finished = False
        self._taken = 0
        self.size = 0

    def __enter__(self) -> Self:
        self._take(_FILE_COSTS)
        self._folder.mkdir()
        self._stream = (self._folder / _CONTENT).open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        if not self._finished:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._store.give_back(self._space, self._taken)

    def write(self, data: bytes) -> None:
        """Append. Raises ApiError when the file or its namespace becomes too large, or the volume is full."""
        self._store.check_size(self.size + len(data))
        self._take(len(data))
        try:
            self._stream.write(data)
        except OSError as error:
            raise _full(error) from None
        self.size += len(data)

    def finish(self, filename: str, purpose: str, now: int) -> StoredFile:
        """Store the file for good. `now` in seconds since 1970. Raises ApiError."""
        file = StoredFile(self._folder.name, filename, self.size, now, purpose)
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            (self._folder / _META).write_text(json.dumps(asdict(file)), encoding="utf-8")
            self._store.publish(self._space, self._folder)
        except OSError as error:
            raise _full(error) from None
        self._finished = True
        return file

    def _take(self, size: int) -> None:
        self._store.take(self._space, size)
        self._taken += size


def _full(error: OSError) -> ApiError:
    message = f"The file cannot be stored: {error.strerror}. Tell the platform team, whose volume of files this is."
    return ApiError(500, message, code="storage_failed", param="file")
