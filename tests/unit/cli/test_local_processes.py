"""A stage on this machine whose command is stopped, hung up or killed: real processes and terminals."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vernacular_local.processes import alone
from vernacular_local.request import LocalError

# `vernacular run`, as far as its processes go: argument 1 is its folder, 2 the launcher of the stage
COMMAND = """
import os, sys
from pathlib import Path
from vernacular_local.processes import StageProcess, Stops, alone
STAGE = '''
import os, sys
from vernacular_trainer.launch import Launch
from vernacular_trainer.supervise import run_launch
launch = Launch((sys.executable, "-c", sys.argv[1]), dict(os.environ))
sys.exit(run_launch(launch, lambda: False, stop_seconds=60, lifeline=0).exit_code)
'''
folder = Path(sys.argv[1])
with alone(folder) as lock, Stops() as stops:
    command = (sys.executable, "-c", STAGE, sys.argv[2])
    code = StageProcess(os.environ, lock, stops).run(command, folder / "log", lambda line: None)
    (folder / "code").write_text(str(code))
"""
# saves when it is asked to stop, which takes until the file `saving-may-end` is there
LAUNCHER = """
import os, signal, sys, time
from pathlib import Path
folder = Path(os.environ["FOLDER"])
def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.02)
def save(*_):
    print("saving", flush=True)
    wait_for("saving-may-end")
    (folder / "saved").touch()
    sys.exit(85)
signal.signal(signal.SIGTERM, save)
(folder / "pid").write_text(str(os.getpid()))
print("training", flush=True)
wait_for("trained")
"""


class Started:
    """The command in a terminal of its own."""

    def __init__(self, folder: Path, *, nohup: bool = False) -> None:
        self.folder = folder
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            # as from a shell in the foreground, or behind nohup
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
            arguments = (sys.executable, "-c", COMMAND, str(folder), LAUNCHER)
            os.execve(sys.executable, arguments, os.environ | {"FOLDER": str(folder)})

    def close_terminal(self) -> None:
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        # as Ctrl-C: the terminal itself tells whoever is in the foreground
        os.write(self._terminal, b"\x03")

    def wait_for(self, name: str, text: str) -> str:
        """The content of a file of the folder, once it has this text."""
        path, deadline = self.folder / name, time.monotonic() + 60
        while text not in (found := path.read_text() if path.exists() else ""):
            assert time.monotonic() < deadline, f"{name}: {found!r}"
            time.sleep(0.02)
        return found

    @property
    def taken(self) -> bool:
        try:
            with alone(self.folder):
                return False
        except LocalError:
            return True

    def wait_until_free(self) -> None:
        deadline = time.monotonic() + 60
        while self.taken:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def clear(self) -> None:
        """End everything, however the test ended."""
        (self.folder / "saving-may-end").touch()
        (self.folder / "trained").touch()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.close_terminal()
        self.wait_until_free()


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Started] = []

    def make(*, nohup: bool = False) -> Started:
        started.append(Started(tmp_path, nohup=nohup))
        started[-1].wait_for("log", "training")
        return started[-1]

    yield make
    for item in started:
        item.clear()


@pytest.mark.parametrize("end", [Started.interrupt, Started.close_terminal, Started.kill])
def test_a_stage_saves_and_ends_with_whoever_started_it(start: Start, end: Callable[[Started], None]) -> None:
    command = start()

    end(command)

    command.wait_for("log", "saving")
    # until then nobody else may write into the folder, also when the command itself is gone
    assert command.taken
    (command.folder / "saving-may-end").touch()
    command.wait_until_free()
    assert (command.folder / "saved").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((command.folder / "pid").read_text()), 0)


@pytest.mark.parametrize("end", [Started.interrupt, Started.close_terminal])
def test_the_command_learns_how_the_stage_ended(start: Start, end: Callable[[Started], None]) -> None:
    command = start()
    (command.folder / "saving-may-end").touch()

    end(command)

    assert command.wait_for("code", "85") == "85"


def test_behind_nohup_a_terminal_that_closes_means_nothing(start: Start) -> None:
    command = start(nohup=True)

    command.close_terminal()
    (command.folder / "trained").touch()

    assert command.wait_for("code", "0") == "0"
    assert not (command.folder / "saved").exists()
