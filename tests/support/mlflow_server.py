"""A real MLflow server on loopback that can be stopped and started again with the same data and address."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType

START_SECONDS = 120.0


class MlflowServer:
    """`mlflow server` over SQLite and a folder of artifacts, without its job runners (they cost memory and seconds).

    With an `admin_password` it asks for a login (MLflow's own basic-auth); everybody may read what others made.
    """

    def __init__(self, folder: Path, admin_password: str = "") -> None:
        self.folder = folder
        self.admin_password = admin_password
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError with its log when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server and its workers; data stay."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        self._process = None

    def kill(self) -> None:
        """End the server and its workers in the middle of whatever they do; data stay."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def processes(self) -> list[int]:
        """pids of the server and its workers, which are its children and theirs."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += map(int, children)
        return found

    def add_user(self, name: str, password: str) -> None:
        """A user who may read everything and edit what is his own."""
        credentials = base64.b64encode(f"admin:{self.admin_password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        body = json.dumps({"username": name, "password": password}).encode()
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/users/create", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if self.admin_password:
            config = self.folder / "auth.ini"
            store = f"database_uri = sqlite:///{self.folder / 'users.db'}"
            check = "authorization_function = mlflow.server.auth:authenticate_request_basic_auth"
            lines = ["[mlflow]", "default_permission = READ", store, "admin_username = admin", check]
            config.write_text("\n".join(lines) + "\n", encoding="utf-8")
            environment |= {
                "MLFLOW_AUTH_CONFIG_PATH": str(config),
                "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin_password,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs the forms of a test",
            }
        return environment

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination",
            str(self.folder / "artifacts"),
            "--serve-artifacts",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
            *(["--app-name", "basic-auth"] if self.admin_password else []),
        ]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        log = (self.folder / "server.log").read_text(errors="replace")[-3000:]
        self.stop()
        raise RuntimeError(f"the MLflow server did not start:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
