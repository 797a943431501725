"""Downloads in ranges: what arrived is kept with its digest, so that the next attempt goes on where this one ended."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.data.files import write_json

log = logging.getLogger(__name__)

RANGE_BYTES = 16 * 2**20
# the name of the folder is shared with the hub's library, whose files of this kind the model cache knows too
_PROGRESS = Path(".cache") / "download"

ReadRange = Callable[[int, int], bytes]


@dataclass(frozen=True)
class _Draft:
    """The unfinished file, and beside it how much of it is sure: version, bytes and their digest."""

    data: Path
    mark: Path

    def resume(self, version: str) -> tuple[int, Any]:
        """Bytes that can be kept, and the digest over them; 0 when they are of another version, or damaged."""
        try:
            mark = json.loads(self.mark.read_text(encoding="utf-8"))
            size = int(mark["bytes"])
            with self.data.open("r+b") as stream:
                stream.truncate(size)
                digest = hashlib.file_digest(stream, "sha256")
            if mark["version"] == version and self.data.stat().st_size == size and digest.hexdigest() == mark["sha256"]:
                return size, digest
        except (OSError, ValueError, KeyError, TypeError):
            log.debug("nothing to go on with")
        return 0, hashlib.sha256()

    def save(self, version: str, size: int, digest: Any) -> None:
        write_json(self.mark, {"version": version, "bytes": size, "sha256": digest.hexdigest()})


def download(folder: Path, path: str, version: str, size: int, read: ReadRange) -> None:
    """Put `size` bytes at `path` below the folder, where they appear when complete. `read(start, end)` must give bytes
    of this version alone. A file of this version that is there is kept.

    Raises what `read` raises; what arrived until then is kept.
    """
    target = folder / path
    draft = _Draft(folder / _PROGRESS / f"{path}.incomplete", folder / _PROGRESS / f"{path}.json")
    done = folder / _PROGRESS / f"{path}.metadata"
    if target.is_file() and done.is_file() and done.read_text(encoding="utf-8") == version:
        return
    draft.data.parent.mkdir(parents=True, exist_ok=True)
    start, digest = draft.resume(version)
    if start:
        log.info("%s: going on after %d of %d bytes", path, start, size)
    with draft.data.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        while start < size:
            block = read(start, min(start + RANGE_BYTES, size))
            stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
            digest.update(block)
            start += len(block)
            draft.save(version, start, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.data.replace(target)
    done.write_text(version, encoding="utf-8")
    draft.mark.unlink(missing_ok=True)
