"""The first process of a stage's container (PID 1): start the stage, pass on signals, reap orphans, judge its end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from vernacular_trainer import own_trainer
from vernacular_trainer.cgroup import oom_kills
from vernacular_trainer.contract import JobConfig, Stage, StageReport, TrainerConfig
from vernacular_trainer.heartbeat import Watch
from vernacular_trainer.launch import Launch, local_ranks, plan_launch, shutdown_seconds
from vernacular_trainer.outcomes import Ending, OutcomeFolder, judge

# how long a launcher may linger once all its ranks have reported (torchrun waits for a lost host for ever)
LINGER_SECONDS = 20.0
POLL_SECONDS = 1.0
# the longest time between two looks at the heartbeats that counts
LOOK_SECONDS = 5 * POLL_SECONDS

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_CHILD_SUBREAPER = 36


def supervise(config: JobConfig, config_path: Path, lifeline: int | None = None) -> StageReport:
    """Run the stage of `config` in processes of its own and judge how it ended. `lifeline`: as of run_launch.

    Raises OSError when nothing could be started.
    """
    if config.trainer and config.stage is Stage.TRAIN:
        return _supervise_own(config, config.trainer, config_path, lifeline)
    with tempfile.TemporaryDirectory(prefix="vernacular-") as folder:
        outcomes = OutcomeFolder(Path(folder), local_ranks(config))
        launch = plan_launch(config, config_path, outcomes, os.environ)
        kills = oom_kills()
        watch = Watch(outcomes.path, outcomes.ranks, outcomes.has_reported)
        limit = shutdown_seconds(config)
        ending = run_launch(launch, outcomes.all_reported, watch.hung, stop_seconds=limit, lifeline=lifeline)
        return judge(outcomes, ending, pods=config.compute.pods, out_of_memory=oom_kills() > kills)


def _supervise_own(config: JobConfig, trainer: TrainerConfig, config_path: Path, lifeline: int | None) -> StageReport:
    """The same with a command of the user's own, which leaves no reports: its exit code and its files are judged."""
    launch = own_trainer.launch(config, trainer.command, config_path, os.environ)
    kills = oom_kills()
    ending = run_launch(launch, lambda: False, stop_seconds=shutdown_seconds(config), lifeline=lifeline)
    return own_trainer.judge(config, ending, os.environ, out_of_memory=oom_kills() > kills)


def run_launch(
    launch: Launch,
    all_reported: Callable[[], bool],
    hung: Callable[[float], str] = lambda _seconds: "",
    *,
    stop_seconds: float,
    linger_seconds: float = LINGER_SECONDS,
    lifeline: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Ending:
    """Start a launcher and wait until it has ended.

    A request to stop (SIGTERM, SIGINT, or the end of the pipe `lifeline`, whose other end only the process that
    started this one holds) is passed on; the launcher has `stop_seconds` to follow it, and `linger_seconds` to end
    once all its ranks have reported. Then everything below this process is killed, and at once when `hung`, which is
    told the seconds since it was asked last, names something. No process started here outlives the call.
    """
    _adopt_orphans()
    with _stop_requests(lifeline) as requests:
        child = os.posix_spawn(launch.command[0], launch.command, launch.environment, setpgroup=0)
        deadline: float | None = None
        stopped = killed = reported = False
        stuck, looked = "", clock()
        while (exit_code := _reap(child)) is None:
            # time in which this process itself stood still, frozen with its container, is nobody's silence
            stuck = stuck or hung(min(clock() - looked, LOOK_SECONDS))
            looked = clock()
            if requests.arrived(POLL_SECONDS):
                stopped = True
                os.kill(child, signal.SIGTERM)
                deadline = deadline or clock() + stop_seconds
            if not reported and all_reported():
                reported = True
                deadline = min(deadline or float("inf"), clock() + linger_seconds)
            if stuck:
                deadline = clock()
            if deadline is not None and clock() >= deadline and not killed:
                killed = True
                _kill_descendants()
        _clear()
        return Ending(exit_code, stopped, killed, stuck)


class _StopRequests:
    """Signals that ask to stop, delivered at a socket so that waiting for them and for children is one wait, and the
    lifeline.
    """

    def __init__(self, receiver: socket.socket, lifeline: int | None) -> None:
        self._receiver = receiver
        self._lifeline = lifeline

    def arrived(self, seconds: float) -> bool:
        """Wait until any signal comes or the lifeline ends, at most `seconds`; whether that asks to stop."""
        sources = [self._receiver.fileno(), *([] if self._lifeline is None else [self._lifeline])]
        readable, _, _ = select.select(sources, [], [], seconds)
        numbers = self._receiver.recv(4096) if sources[0] in readable else b""
        return any(number in numbers for number in _STOP_SIGNALS) or self._ended(readable)

    def _ended(self, readable: list[int]) -> bool:
        if self._lifeline not in readable or os.read(self._lifeline, 4096):
            return False
        # said once: an end stays readable
        self._lifeline = None
        return True


@contextlib.contextmanager
def _stop_requests(lifeline: int | None) -> Iterator[_StopRequests]:
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    previous_wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, _ignore) for number in (*_STOP_SIGNALS, signal.SIGCHLD)}
    try:
        yield _StopRequests(receiver, lifeline)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_wakeup)
        receiver.close()
        sender.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler must exist for the wake-up socket to be written."""


def _reap(child: int) -> int | None:
    """Collect every ended child, adopted orphans too; the exit code of `child` once it has ended."""
    exit_code: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return exit_code
        if pid == 0:
            return exit_code
        if pid == child:
            exit_code = os.waitstatus_to_exitcode(status)


def _adopt_orphans() -> None:
    # as PID 1 of a container this is so anyway; outside of one, grandchildren would escape
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_descendants() -> bool:
    """Kill what lives below this process; whether there was anything."""
    found = _descendants(os.getpid())
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _clear() -> None:
    """Kill and collect everything below this process, what is adopted meanwhile too."""
    while _kill_descendants():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _descendants(ancestor: int) -> list[int]:
    """Living processes below `ancestor`, zombies left out."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (parent := _living_parent(folder)) is not None:
            parents[int(folder.name)] = parent
    found: list[int] = []
    queue = [ancestor]
    while queue:
        parent = queue.pop()
        children = [pid for pid, other in parents.items() if other == parent]
        found.extend(children)
        queue.extend(children)
    return found


def _living_parent(folder: Path) -> int | None:
    try:
        # the program's name stands in brackets and may hold anything, brackets too
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)
