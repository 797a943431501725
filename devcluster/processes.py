"""Processes that outlive the driver. Each is recorded with its start time, so that a reused pid is never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.shell import wait_until


@dataclass(frozen=True)
class Process:
    """pid in the host's namespace; `started` in clock ticks since boot, as the kernel counts them."""

    name: str
    pid: int
    started: int


def started_at(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Start time of a living process; None when it is gone or only waits to be reaped."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return sorted(found)


def alive(process: Process) -> bool:
    return started_at(process.pid) == process.started


def describe(name: str, pid: int) -> Process | None:
    started = started_at(pid)
    return None if started is None else Process(name, pid, started)


class ProcessTable:
    """The processes of one cluster, one small file each under `folder`."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs

    def start(self, name: str, command: Sequence[str | Path]) -> Process:
        """Start detached, output to NAME.log. A process that ends at once is found by the caller's readiness check."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        process = describe(name, child.pid) or Process(name, child.pid, 0)
        self.record(process)
        return process

    def record(self, process: Process) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._file(process.name)
        unfinished = file.with_suffix(".new")
        unfinished.write_text(json.dumps(vars(process)))
        unfinished.rename(file)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def all(self) -> list[Process]:
        if not self._folder.is_dir():
            return []
        return [process for file in sorted(self._folder.glob("*.json")) if (process := self.get(file.stem))]

    def get(self, name: str) -> Process | None:
        """None when it was never started, or forgotten (by another thread meanwhile)."""
        try:
            return Process(**json.loads(self._file(name).read_text()))
        except FileNotFoundError:
            return None

    def stop(self, processes: Sequence[Process], *, grace: float) -> None:
        """Ask politely, wait `grace` seconds together, then kill; forget them when they are gone."""
        _signal(processes, signal.SIGTERM)
        try:
            wait_until("processes gone", lambda: not any(map(alive, processes)), timeout=grace)
        except DevclusterError:
            _signal(processes, signal.SIGKILL)
            wait_until("killed processes gone", lambda: not any(map(alive, processes)), timeout=20)
        self.forget(processes)

    def kill(self, processes: Sequence[Process]) -> None:
        _signal(processes, signal.SIGKILL)
        wait_until("killed processes gone", lambda: not any(map(alive, processes)), timeout=20)
        self.forget(processes)

    def forget(self, processes: Sequence[Process]) -> None:
        for process in processes:
            self._file(process.name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        if alive(process):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue
