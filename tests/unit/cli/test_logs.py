"""Logs of pods, from a server that answers as an API server with a kubelet behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from support.answering_server import AnsweringServer
from support.cli_jobs import TRAINING
from support.command_line import Shell, shell_at

SELECTOR = (
    "vernacular.dev/job-uid=uid-hr-bot,vernacular.dev/stage=train,vernacular.dev/attempt=2,"
    "batch.kubernetes.io/job-completion-index=1"
)
LOG = "step 1\nüstep 2\nwithout an end"


class Server(AnsweringServer):
    """Has one job with one pod; `asked` are the queries for its log."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {"running": {}}
        self.asked: list[dict[str, list[str]]] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        parts = urlsplit(path.removeprefix("/k8s/clusters/c-1"))
        return 200, self._document(parts.path, parse_qs(parts.query))

    def _document(self, path: str, query: dict[str, list[str]]) -> str:
        if path.endswith("/finetunejobs/hr-bot"):
            return json.dumps(TRAINING)
        if path == "/api/v1/namespaces/demo/pods":
            pod = {
                "metadata": {"name": "hr-bot-1"},
                "status": {"containerStatuses": [{"name": "stage", "state": self.state}]},
            }
            return json.dumps({"items": [pod] if query["labelSelector"] == [SELECTOR] else []})
        assert path == "/api/v1/namespaces/demo/pods/hr-bot-1/log"
        self.asked.append(query)
        return LOG


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return shell_at(server.uri, tmp_path)


def test_the_log_of_a_rank(server: Server, shell: Shell) -> None:
    done = shell.run("logs", "hr-bot", "--rank", "1")

    assert done.returncode == 0, done.stderr
    assert done.stdout == LOG + "\n"
    assert server.asked == [{"container": ["stage"]}]


def test_a_server_below_a_path(server: Server, shell: Shell) -> None:
    config = shell.kubeconfig.read_text() if shell.kubeconfig else ""
    path = shell.home / "below"
    path.write_text(config.replace(f":{server.port}", f":{server.port}/k8s/clusters/c-1"))

    assert Shell(path, shell.home).run("logs", "hr-bot", "--rank", "1").stdout == LOG + "\n"


def test_the_end_of_a_log_that_goes_on(server: Server, shell: Shell) -> None:
    done = shell.run("logs", "hr-bot", "--rank", "1", "--tail", "2", "--follow")

    assert done.returncode == 0, done.stderr
    assert server.asked == [{"container": ["stage"], "tailLines": ["2"], "follow": ["true"]}]


def test_a_pod_that_has_not_started(server: Server, shell: Shell) -> None:
    server.state = {"waiting": {"reason": "ImagePullBackOff"}}

    done = shell.run("logs", "hr-bot", "--rank", "1")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: pod hr-bot-1 has no log yet: ImagePullBackOff",
        "  vernacular explain hr-bot -n demo says what it waits for",
    ]


def test_a_pod_that_is_gone(shell: Shell) -> None:
    done = shell.run("logs", "hr-bot")

    assert done.returncode == 1
    assert "train, attempt 2, rank 0 of hr-bot has no pod here" in done.stderr
