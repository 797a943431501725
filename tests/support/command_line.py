"""The command line as a person uses it: a process of its own, with pipes or with a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from support.apiserver import ApiServer

PROGRAM = str(Path(sys.executable).with_name("vernacular"))
_LAST_SCREEN = re.compile(r"\x1b\[\d+F\x1b\[J")


@dataclass(frozen=True)
class Shell:
    """A shell of a person: `vernacular` knows one kubeconfig and nothing else of the environment."""

    kubeconfig: Path | None
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the process finds in its environment."""
        found = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **self.variables}
        return found | ({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {})

    def run(self, *arguments: str, stdin: str = "", program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
        """Run it with pipes; a traceback is a failure of every test."""
        done = subprocess.run(
            [program, *arguments],
            input=stdin, capture_output=True, text=True, timeout=60, check=False, env=self.environment, cwd=self.home,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80) -> Iterator[Screen]:
        """Run it in a terminal."""
        ours, theirs = pty.openpty()
        environment = {**self.environment, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=self.home, close_fds=True,
            start_new_session=True, preexec_fn=_before_a_terminal,
        )  # fmt: skip
        os.close(theirs)
        screen = Screen(ours, process)
        try:
            yield screen
        finally:
            process.kill()
            process.wait()
            screen.close()


def _before_a_terminal() -> None:
    # a terminal that closes tells whoever stands before it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # what a shell runs in the background ignores Ctrl-C, what nohup runs a closing terminal, and so do their children
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def shell_in(server: ApiServer, namespace: str, folder: Path) -> Shell:
    """A shell whose kubeconfig has a namespace of its own."""
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    (folder / "config").write_text(yaml.safe_dump(config))
    return Shell(folder / "config", folder)


def shell_at(address: str, folder: Path) -> Shell:
    """A shell whose kubeconfig has this server, and the namespace demo."""
    config = {
        "clusters": [{"name": "a", "cluster": {"server": address}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "namespace": "demo"}}],
        "current-context": "a",
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return Shell(folder / "config", folder)


class Screen:
    """A terminal with a process in it."""

    def __init__(self, file: int, process: subprocess.Popen[bytes]) -> None:
        self._file = file
        self.process = process
        self.raw = ""

    def until(self, text: str, seconds: float = 30) -> str:
        """Read until the process has written this; what stands on the screen then."""
        deadline = time.monotonic() + seconds
        while text not in self.raw:
            assert self._read(deadline), f"{text!r} was not written, only:\n{self.raw}"
        return self.shown

    def end(self, seconds: float = 30) -> int:
        """Read until the process ends; its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(max(1, deadline - time.monotonic()))

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def close(self) -> None:
        """Close the terminal."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._file, text.encode())

    @property
    def shown(self) -> str:
        """What was not written over."""
        return _LAST_SCREEN.split(self.raw)[-1]

    def _read(self, deadline: float) -> bool:
        """Read what comes next; False at the end."""
        ready, _, _ = select.select([self._file], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"nothing more was written:\n{self.raw}"
        try:
            chunk = os.read(self._file, 65536)
        except OSError:
            return False
        self.raw += chunk.decode().replace("\r\n", "\n")
        return bool(chunk)
