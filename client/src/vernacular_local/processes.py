"""The process of a stage on this machine: it ends with whoever started it, and holds the job's folder until then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from vernacular_local.request import LocalError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_MILLISECONDS = 100


class Stops:
    """Requests to stop (Ctrl-C, SIGTERM, a terminal that closes), passed on to the stage that runs."""

    def __init__(self) -> None:
        self.requested = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stops:
        # nohup: a terminal that closes is to mean nothing
        heard = [number for number in _STOP_SIGNALS if number != signal.SIGHUP or not _ignored(number)]
        self._before = {number: signal.signal(number, self._stop) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on_to(self, process: subprocess.Popen[bytes] | None) -> None:
        """Who is told; None: nobody."""
        self._process = process
        if process and self.requested:
            process.send_signal(signal.SIGTERM)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if self._process:
            self._process.send_signal(signal.SIGTERM)
        if first:
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), b"\nstopping: what was learnt is being saved\n")


def _ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


@dataclass(frozen=True)
class StageProcess:
    """How stages are started. `lock`: descriptor of the folder's lock."""

    environment: Mapping[str, str]
    lock: int
    stops: Stops

    def run(self, command: Sequence[str], log: Path, show: Callable[[str], None]) -> int:
        """Run a command to its end, with everything that it says in `log`, and each line shown; its exit code.

        Its standard input is a pipe that ends with this process, whatever ends it.
        """
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                env=dict(self.environment),
                # a group of its own: Ctrl-C of a terminal reaches it once, from here
                process_group=0,
                stdin=subprocess.PIPE,
                # a file and no pipe: it can still speak when this process is gone
                stdout=said,
                stderr=subprocess.STDOUT,
                # the folder is taken as long as any process of the stage lives
                pass_fds=(self.lock,),
            )
        self.stops.pass_on_to(process)
        _follow(process, log, show)
        self.stops.pass_on_to(None)
        return process.wait()


def _follow(process: subprocess.Popen[bytes], log: Path, show: Callable[[str], None]) -> None:
    """Show what is said until no process is left that has the other end of the pipe."""
    assert process.stdin is not None
    with process.stdin as lifeline, log.open(encoding="utf-8", errors="replace") as file:
        readers, rest, alive = select.poll(), "", True
        # nothing is asked for: what is told is that nobody reads any more
        readers.register(lifeline, 0)
        while alive:
            alive = not readers.poll(_LOOK_MILLISECONDS)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                show(line)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Two at once would write over each other. The lock's descriptor: whoever has it open holds the folder.

    Raises LocalError.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"this job runs already in {folder}", "wait for it, or name another --work") from None
        yield file.fileno()
