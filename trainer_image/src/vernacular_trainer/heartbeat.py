"""Signs of life: a training process says what it begins and for how long it may be silent about it at most, and the
supervisor of its pod ends the stage when one is silent for longer.

Only progress counts as a sign, no timer beside it: a process that waits for ever in a collective, a driver or a file
system looks alive in every other way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "VERNACULAR_HEARTBEAT"


@dataclass(frozen=True)
class Activity:
    """Something that a process does, and the seconds after which it is stuck for sure."""

    name: str
    seconds: int


# A large model takes long to read from a slow volume and to write to one, and the first step compiles kernels.
LOADING = Activity("loading the model", 3600)
FIRST_STEP = Activity("the first step", 1800)
STEP = Activity("a step", 900)
EVALUATION = Activity("an evaluation", 900)
SAVING = Activity("saving", 3600)


class Heartbeat:
    """The signs of life of one process; None: nobody looks at them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._activity: Activity | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Heartbeat:
        """That of the process with this environment."""
        folder = environ.get(VARIABLE)
        return cls(_file(Path(folder), int(environ.get("LOCAL_RANK", "0"))) if folder else None)

    def begin(self, activity: Activity) -> None:
        """The process goes on, with this. Never raises: no sign is worth a training."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            if activity == self._activity:
                os.utime(self._path)
            else:
                self._path.write_text(f"{activity.seconds} {activity.name}", encoding="utf-8")
                self._activity = activity


class Watch:
    """The supervisor's look at the processes of its pod; those that have `reported` are not waited for."""

    def __init__(self, folder: Path, ranks: int, reported: Callable[[int], bool]) -> None:
        self._files = {rank: _file(folder, rank) for rank in range(ranks)}
        self._reported = reported
        self._seen: dict[int, int] = {}
        self._silent: dict[int, float] = {}

    def hung(self, seconds: float) -> str:
        """Which process is stuck in what, "" when none is. `seconds`: watched since the last look."""
        for rank, path in self._files.items():
            with contextlib.suppress(FileNotFoundError):
                stamp = path.stat().st_mtime_ns
                self._silent[rank] = self._silent.get(rank, 0.0) + seconds if self._seen.get(rank) == stamp else 0.0
                self._seen[rank] = stamp
                limit, _, name = path.read_text(encoding="utf-8").partition(" ")
                # it may just be writing
                if name and self._silent[rank] > int(limit) and not self._reported(rank):
                    return f"process {rank} was in {name} for more than {limit} s"
        return ""


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.heartbeat"
