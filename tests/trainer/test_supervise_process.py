"""The supervisor's hold over real processes: it passes signals on, reaps orphans, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# runs a launcher under run_launch and prints how it ended, and which processes are left
DRIVER = """
import json, os, sys
from pathlib import Path
from vernacular_trainer.launch import Launch
from vernacular_trainer.supervise import _descendants, run_launch
launcher, done, limits = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
launch = Launch((sys.executable, "-c", launcher), dict(os.environ))
ending = run_launch(launch, done.exists, **limits)
print(json.dumps([ending.exit_code, ending.stopped, ending.killed, _descendants(os.getpid())]))
"""
# tells that it runs by making a file named after its process id
READY = "import os, signal, subprocess, sys, time; from pathlib import Path; here = Path(os.environ['FOLDER'])\n"
ANNOUNCE = "(here / f'pid-{os.getpid()}').touch()\n"


class Supervised:
    """A launcher under a supervisor."""

    def __init__(self, folder: Path, launcher: str, stdin: int | None = None, **limits: float) -> None:
        self.folder = folder
        limits = {"stop_seconds": 30, "linger_seconds": 30} | limits | ({} if stdin is None else {"lifeline": 0})
        arguments = (sys.executable, "-c", DRIVER, READY + launcher, str(folder / "done"), json.dumps(limits))
        self.process = subprocess.Popen(
            arguments, stdin=stdin, stdout=subprocess.PIPE, text=True, env=os.environ | {"FOLDER": str(folder)}
        )

    def wait_for(self, count: int) -> list[int]:
        """Process ids once so many have announced themselves."""
        deadline = time.monotonic() + 30
        while len(found := sorted(self.folder.glob("pid-*"))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return [int(path.name.removeprefix("pid-")) for path in found]

    def ending(self) -> tuple[int, bool, bool]:
        """Exit code of the launcher, whether it was asked to stop, whether it was killed; nothing may be left."""
        output, _ = self.process.communicate(timeout=60)
        exit_code, stopped, killed, left = json.loads(output)
        assert left == []
        assert not [pid for path in self.folder.glob("pid-*") if alive(pid := int(path.name.removeprefix("pid-")))]
        return exit_code, stopped, killed


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


Run = Callable[..., Supervised]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Supervised] = []

    def make(launcher: str, **limits: Any) -> Supervised:
        started.append(Supervised(tmp_path, launcher, **limits))
        return started[-1]

    yield make
    for item in started:
        item.process.kill()
        item.process.wait()


@pytest.mark.parametrize(
    ("code", "expected"), [("sys.exit(0)", 0), ("sys.exit(7)", 7), ("os.abort()", -signal.SIGABRT)]
)
def test_the_end_of_the_launcher(run: Run, code: str, expected: int) -> None:
    assert run(code).ending() == (expected, False, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_passed_on_as_sigterm(run: Run, number: signal.Signals) -> None:
    supervised = run("signal.signal(signal.SIGTERM, lambda *_: sys.exit(85))\n" + ANNOUNCE + "time.sleep(60)")
    supervised.wait_for(1)
    supervised.process.send_signal(number)
    assert supervised.ending() == (85, True, False)


def test_the_end_of_the_lifeline_is_a_request_to_stop(run: Run) -> None:
    ours, theirs = os.pipe()
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(85))\n" + ANNOUNCE + "time.sleep(60)"
    supervised = run(code, stdin=ours)
    os.close(ours)
    supervised.wait_for(1)
    # what is said there means nothing
    os.write(theirs, b"words")
    assert supervised.process.poll() is None
    os.close(theirs)
    assert supervised.ending() == (85, True, False)


def test_a_launcher_that_does_not_follow_is_killed(run: Run) -> None:
    supervised = run("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANNOUNCE + "time.sleep(60)", stop_seconds=0.5)
    supervised.wait_for(1)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.ending() == (-signal.SIGKILL, True, True)


def test_a_launcher_that_lingers_after_all_reports_is_killed(run: Run) -> None:
    supervised = run(ANNOUNCE + "time.sleep(60)", linger_seconds=0.5)
    supervised.wait_for(1)
    (supervised.folder / "done").touch()
    assert supervised.ending() == (-signal.SIGKILL, False, True)


ORPHAN = "subprocess.Popen([sys.executable, '-c', %r], start_new_session=True)\n"


def test_orphans_of_a_launcher_are_killed_at_its_end(run: Run) -> None:
    orphan = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANNOUNCE + "time.sleep(60)"
    wait = "\nwhile len(list(here.glob('pid-*'))) < 1: time.sleep(0.02)\nsys.exit(3)"
    supervised = run(ORPHAN % (READY + orphan) + wait)
    assert supervised.ending() == (3, False, False)


def test_orphans_that_end_are_reaped(run: Run) -> None:
    # the middle process ends at once, so that its child is adopted; it then ends as well, under the supervisor alone
    child = READY + ANNOUNCE
    middle = READY + ORPHAN % child
    launcher = f"subprocess.run([sys.executable, '-c', {middle!r}])\n(here / 'middle-ended').touch()\ntime.sleep(60)"
    supervised = run(launcher)
    (orphan,) = supervised.wait_for(1)
    deadline = time.monotonic() + 30
    while alive(orphan):
        assert time.monotonic() < deadline, "a zombie is left"
        time.sleep(0.02)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.ending() == (-signal.SIGTERM, True, False)
