"""Reach the bundled MLflow from this machine and read a run's artifacts."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.install import OPERATOR_NAMESPACE
from demo.shell import DemoError
from demo.target import Target

MLFLOW_SERVICE = "service/vernacular-mlflow"


@contextmanager
def mlflow_url(target: Target) -> Iterator[str]:
    """An address of MLflow that works on this machine while the context is open."""
    if target.mlflow_url:
        yield target.mlflow_url
        return
    command = ["kubectl", "port-forward", "-n", OPERATOR_NAMESPACE, MLFLOW_SERVICE, ":5000", "--address", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        first = forward.stdout.readline()  # "Forwarding from 127.0.0.1:PORT -> 5000"
        if "127.0.0.1:" not in first:
            raise DemoError(f"`{' '.join(command)}` did not start")
        try:
            yield "http://" + first.split("from ", 1)[1].split(" ", 1)[0]
        finally:
            forward.terminate()


def read_artifact(url: str, run_id: str, path: str) -> Any:
    """A JSON artifact of a run."""
    query = urllib.parse.urlencode({"path": path, "run_uuid": run_id})
    with urllib.request.urlopen(f"{url}/get-artifact?{query}", timeout=30) as response:
        return json.load(response)
