"""Where buckets may not be: on the machine itself, on its link, where clouds tell machines who they are."""

from __future__ import annotations

import gc
import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from vernacular_trainer.contract import FileSource, HttpsConfig, ModelConfig, Outcome, StageFailure
from vernacular_trainer.data.base_model import provide
from vernacular_trainer.data.remote.addresses import may_hold_objects
from vernacular_trainer.data.remote.fetch import Servers
from vernacular_trainer.data.remote.guard import Guard
from vernacular_trainer.data.sources import copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

ROW = b'{"prompt": "q", "completion": "a"}\n'


class Bucket(ThreadingHTTPServer):
    """Answers every request with one row, or leads elsewhere; counts the requests."""

    daemon_threads = True

    def __init__(self, leads_to: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.leads_to, self.asked = leads_to, 0
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.endpoint = f"http://{self.host}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.leads_to:
            self.send_response(307)
            self.send_header("Location", self.server.leads_to + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(ROW)))
        self.send_header("Content-Range", f"bytes 0-{len(ROW) - 1}/{len(ROW)}")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(ROW)

    do_HEAD = do_GET  # noqa: N815 - a name of the base class

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as running:
        yield running
        running.shutdown()


def copied(root: Path, endpoint: str, *listed: str) -> bytes:
    source = FileSource("s3://rows/a.jsonl", uri="s3://rows/a.jsonl", endpoint=endpoint)
    (copy,) = copy_sources((source,), Workspace(root), Servers(HttpsConfig(listed))).copies
    return copy.path.read_bytes()


def refusal(root: Path, endpoint: str, *listed: str) -> StageError:
    with pytest.raises(StageError) as caught:
        copied(root, endpoint, *listed)
    error = caught.value
    assert (error.code, error.outcome) == (StageFailure.SOURCE_NOT_ALLOWED, Outcome.USER_ERROR)
    assert "config.s3.endpoint" in error.advice
    return error


@pytest.mark.parametrize(
    "endpoint",
    [
        *("http://127.0.0.1:{port}", "http://localhost:{port}", "http://127.1.2.3:{port}", "http://0.0.0.0:{port}"),
        *("http://[::1]:{port}", "http://[::ffff:7f00:1]:{port}", "http://[64:ff9b::7f00:1]:{port}"),
        *("http://169.254.169.254", "https://169.254.170.23", "http://100.100.100.200", "http://[fd00:ec2::254]"),
        *("http://[fe80::1]", "http://224.0.0.1"),
    ],
)
def test_endpoints_on_local_addresses_are_refused_before_they_are_asked(
    tmp_path: Path, bucket: Bucket, endpoint: str
) -> None:
    named = endpoint.format(port=bucket.server_address[1])

    error = refusal(tmp_path, named)

    assert urlsplit(named).hostname in error.message
    assert bucket.asked == 0


def test_the_chart_may_list_an_address_and_nothing_less_says_so(tmp_path: Path, bucket: Bucket) -> None:
    port = bucket.server_address[1]

    assert copied(tmp_path, bucket.endpoint, bucket.host) == ROW

    refusal(tmp_path / "name", f"http://localhost:{port}", f"localhost:{port}", "127.0.0.1")


def test_the_endpoint_of_the_chart_may_be_anywhere(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)

    assert copied(tmp_path / "left-open", "") == copied(tmp_path / "named", bucket.endpoint) == ROW


def test_a_redirect_to_a_local_address_is_not_followed(tmp_path: Path, bucket: Bucket) -> None:
    with Bucket(leads_to=bucket.endpoint) as leading:
        error = refusal(tmp_path / "refused", leading.endpoint, leading.host)
        assert bucket.asked == 0
        assert copied(tmp_path / "listed", leading.endpoint, leading.host, bucket.host) == ROW
        leading.shutdown()

    assert bucket.host in error.message
    assert leading.asked > 0


def test_a_name_that_gets_another_address_meanwhile_is_refused(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, found, looked_up = bucket.server_address[1], socket.getaddrinfo, []

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "rows.example.com":
            return found(host, *arguments, **options)
        looked_up.append(host)
        address = "93.184.216.34" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    error = refusal(tmp_path, f"http://rows.example.com:{port}")

    assert f"rows.example.com:{port}" in error.message
    assert len(looked_up) > 1
    assert bucket.asked == 0


def test_a_model_is_looked_for_with_the_same_care(tmp_path: Path, bucket: Bucket) -> None:
    with pytest.raises(StageError) as caught:
        provide(ModelConfig("s3://models/tiny/", str(tmp_path / "model"), endpoint=bucket.endpoint))

    assert caught.value.code is StageFailure.SOURCE_NOT_ALLOWED
    assert bucket.asked == 0


def test_a_proxy_of_the_pod_decides_for_itself(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    # the bucket stands in for a proxy, which answers for all servers
    monkeypatch.setenv("http_proxy", bucket.endpoint)
    monkeypatch.setenv("no_proxy", "")

    assert copied(tmp_path, "http://169.254.169.254") == ROW


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "fd12::1", "93.184.216.34"])
def test_other_addresses_hold_buckets(address: str) -> None:
    assert may_hold_objects(HttpsConfig(), "minio.storage.svc", 9000, address)


def test_a_guard_goes_with_its_holder() -> None:
    guard = Guard(lambda *_: True)
    host, port = urlsplit(guard.url).hostname, urlsplit(guard.url).port
    assert host
    socket.create_connection((host, port or 0), 5).close()

    del guard
    gc.collect()

    with pytest.raises(OSError):
        socket.create_connection((host, port or 0), 5)


@pytest.mark.parametrize("request_line", [b"\r\n", b"nonsense\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n", b""])
def test_what_is_no_request_is_not_passed_on(request_line: bytes) -> None:
    guard = Guard(lambda *_: True)
    parts = urlsplit(guard.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 5) as connection:
        connection.sendall(request_line)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_a_server_that_is_away_is_a_bad_gateway() -> None:
    guard = Guard(lambda *_: True)
    parts = urlsplit(guard.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    connection.request("GET", "http://127.0.0.1:9/")

    assert connection.getresponse().status == 502
    connection.close()
