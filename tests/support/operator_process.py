"""The operator as a process of its own, started as a container does it, killed without warning, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from vernacular_operator.config import OperatorConfig


@dataclass(frozen=True)
class Usage:
    """What the process holds at one moment. `tasks` of its event loop: 0 without metrics."""

    rss_mib: float
    open_files: int
    threads: int
    tasks: int


class OperatorProcess:
    """`python -m vernacular_operator run` with a config file and a kubeconfig; its log goes to a file of `folder`."""

    def __init__(
        self, config: OperatorConfig, kubeconfig: Path, folder: Path, arguments: Sequence[str] = (), *,
        with_metrics: bool = False,
    ) -> None:  # fmt: skip
        self.log = folder / "operator.log"
        self.starts = 0
        self.ended_by_itself = 0
        self._config = folder / "operator.yaml"
        self._config.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)), encoding="utf-8")
        self._kubeconfig = kubeconfig
        self.metrics_port = _free_port() if with_metrics else 0
        self._arguments = ("--metrics-port", str(self.metrics_port), *arguments) if with_metrics else tuple(arguments)
        self._liveness = f"http://127.0.0.1:{_free_port()}/healthz"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        command = [
            sys.executable, "-m", "vernacular_operator", "run", "--config", str(self._config),
            "--kubeconfig", str(self._kubeconfig), "--liveness", self._liveness,
            *self._arguments,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            log.write(f"=== start {self.starts + 1}\n".encode())
            log.flush()
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, whatever it does at this moment."""
        if self._process and self._process.poll() is None:
            self._process.kill()

    def wait(self) -> None:
        """Wait for the end of a process that was killed."""
        if self._process:
            self._process.wait(10)
            self._process = None

    def stop(self) -> None:
        """SIGTERM, as a rollout does it. Raises TimeoutExpired when it does not end."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        if self._process:
            self._process.wait(30)
            self._process = None

    def revive(self) -> None:
        """Start it again when it ended by itself, as the kubelet does; counted."""
        if self._process is None or self._process.poll() is not None:
            self.ended_by_itself += self._process is not None
            self.start()

    @property
    def pid(self) -> int:
        """The living process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def healthy(self) -> bool:
        """What its liveness probe says."""
        try:
            with urllib.request.urlopen(self._liveness, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_healthy(self, seconds: float = 60) -> None:
        """Raises TimeoutError with the end of the log."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator is not healthy after {seconds} s:\n{self.log_end()}")
            time.sleep(0.1)

    def usage(self) -> Usage:
        """Memory and handles of the living process."""
        folder = Path(f"/proc/{self.pid}")
        fields = dict(
            line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines() if ":" in line
        )
        files = len(os.listdir(folder / "fd"))  # noqa: PTH208
        return Usage(int(fields["VmRSS"].split()[0]) / 1024, files, int(fields["Threads"]), self._tasks())

    def _tasks(self) -> int:
        if not self.metrics_port:
            return 0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("vernacular_event_loop_tasks "))))

    def log_end(self, size: int = 6000) -> str:
        """The end of the log of all starts."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-size:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
