"""What the check-up makes of a server that refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.answering_server import AnsweringServer
from support.command_line import shell_at


class Server(AnsweringServer):
    """Answers every question but that for its version with `status`."""

    status = 404

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        if method == "POST":
            return 201, json.dumps({"status": {"allowed": True}})
        return 200 if path == "/version" else self.status, json.dumps({"gitVersion": "v1.37.2"})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.mark.parametrize(("status", "missing"), [(404, True), (403, False), (503, False)])
def test_a_crd_is_missing_only_when_the_server_says_so(
    server: Server, tmp_path: Path, status: int, missing: bool
) -> None:
    server.status = status

    lines = shell_at(server.uri, tmp_path).run("doctor").stdout.splitlines()

    assert ("✗ the cluster does not know FineTuneJobs" in lines) is missing
    assert ("✓ you may use FineTuneJobs in namespace demo" in lines) is not missing
