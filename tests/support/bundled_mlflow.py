"""The chart's MLflow server, run with the very arguments, environment and packages of its container."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devcluster import tools
from devcluster.lock import exclusive
from devcluster.paths import from_environment
from support.apiserver import REPOSITORY
from support.helm import Helm, find

START_SECONDS = 180
Secrets = Mapping[str, Mapping[str, str]]


def image_programs() -> Path:
    """Folder with the programs of the MLflow image, installed from its lock."""
    lock = REPOSITORY / "charts/mlflow-image/requirements.lock"
    paths = from_environment()
    folder = paths.cache / "mlflow-image" / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    with exclusive(paths.cache / "locks" / "mlflow-image", "another command installs the packages of the MLflow image"):
        if not (folder / "complete").exists():
            uv = str(tools.uv(paths))
            subprocess.run((uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)), check=True)
            install = (uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(folder / "bin/python"))
            subprocess.run((*install, str(lock)), check=True)
            (folder / "complete").touch()
    return folder / "bin"


@contextlib.contextmanager
def served(helm: Helm, values: dict[str, Any], folder: Path, secrets: Secrets | None = None) -> Iterator[int]:
    """Port of the server on loopback; its volume is a folder, and `secrets` are the Secrets of its namespace."""
    deployment = find(helm.render(values), "Deployment", "vernacular-mlflow")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    changes = {"/data": str(folder), "--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    args = container["args"]
    for old, new in changes.items():
        args = [each.replace(old, new) for each in args]
    own = {each["name"]: _value(each, secrets or {}) for each in container["env"]}
    programs = image_programs()
    env = {**os.environ, **own, "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(programs / container["command"][0]), *args],
            stdout=output, stderr=output, env=env, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while status(port, container["startupProbe"]["httpGet"]["path"]) != 200:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _value(variable: dict[str, Any], secrets: Secrets) -> str:
    """What the kubelet would make of it."""
    if "value" in variable:
        return str(variable["value"])
    reference = variable["valueFrom"]["secretKeyRef"]
    return secrets[reference["name"]][reference["key"]]


def status(port: int, path: str, host: str = "", origin: str = "", data: bytes | None = None) -> int:
    """HTTP status of a request; 0 when nothing answers."""
    headers = {"Host": host or "pod-address:5000", "Content-Type": "application/json"}
    if origin:
        headers["Origin"] = origin
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
