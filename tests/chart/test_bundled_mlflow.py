"""The bundled MLflow server, run with the very arguments of the chart: who may call it, and by which name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.helm import Helm, find

pytestmark = pytest.mark.slow

EXTERNAL = "https://mlflow.example.com"
VALUES = {"mlflow": {"externalUrl": EXTERNAL, "bundled": {"enabled": True, "allowedHosts": ["10.96.*"]}}}


@pytest.fixture(scope="module")
def port(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server on loopback with the container's arguments and environment; its volume is a folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    deployment = find(helm.render(VALUES), "Deployment", "vernacular-mlflow")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    changes = {"/data": str(folder), "--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={number}"}
    args = container["args"]
    for old, new in changes.items():
        args = [each.replace(old, new) for each in args]
    env = {**os.environ, **{each["name"]: each["value"] for each in container["env"]}, "HOME": str(folder)}
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / container["command"][0]), *args],
            stdout=output, stderr=output, env=env, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while status(number, container["startupProbe"]["httpGet"]["path"]) != 200:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield number
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


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


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.mark.parametrize(
    "host",
    [
        "vernacular-mlflow.system:5000",
        "vernacular-mlflow.system.svc.cluster.local:5000",
        "localhost:5000",
        "mlflow.example.com",
        "10.96.0.50:5000",
    ],
)
def test_it_answers_to_its_names(port: int, host: str) -> None:
    assert status(port, SEARCH, host) == 200


@pytest.mark.parametrize("host", ["evil.example.com", "vernacular-mlflow.other:5000"])
def test_it_refuses_other_names(port: int, host: str) -> None:
    assert status(port, SEARCH, host) == 403


def test_probes_need_no_name(port: int) -> None:
    assert status(port, "/health") == 200


def test_only_its_own_pages_may_write(port: int) -> None:
    create, body = "/api/2.0/mlflow/experiments/create", b'{"name": "%d"}'

    assert status(port, create, "localhost:5000", EXTERNAL, body % 1) == 200
    assert status(port, create, "localhost:5000", "https://evil.example.com", body % 2) == 403
