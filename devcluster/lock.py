from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(file: Path, reason: str) -> Iterator[None]:
    """Hold a lock between processes; says `reason` once when it has to wait."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting: {reason}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
