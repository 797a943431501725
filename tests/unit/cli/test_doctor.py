"""What the check-up makes of a server that refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.command_line import shell_at


class Server(HTTPServer):
    """Answers every question but that for its version with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 404


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/version" else self.server.status, {"gitVersion": "v1.37.2"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, {"status": {"allowed": True}})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "missing"), [(404, True), (403, False), (503, False)])
def test_a_crd_is_missing_only_when_the_server_says_so(
    server: Server, tmp_path: Path, status: int, missing: bool
) -> None:
    server.status = status

    lines = shell_at(f"http://127.0.0.1:{server.server_port}", tmp_path).run("doctor").stdout.splitlines()

    assert ("✗ the cluster does not know FineTuneJobs" in lines) is missing
    assert ("✓ you may use FineTuneJobs in namespace demo" in lines) is not missing
