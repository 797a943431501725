"""A real server of the S3 API on loopback (SeaweedFS) with users of different rights, and a relay that breaks off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from support.canaries import canary

START_SECONDS = 60.0
ROWS, PRIVATE = "rows", "private"
_ACTIONS = {
    "admin": ["Admin", "Read", "Write", "List"],
    "reader": [f"Read:{ROWS}", f"List:{ROWS}"],
    "lister": [f"List:{ROWS}"],
}


@dataclass
class S3Server:
    """Two buckets: `reader` may read and list ROWS, `lister` only list it, `admin` everything. Keys are canaries. With
    `tls`, a pair of paths (certificate, key), the server is also reached by https.
    """

    folder: Path
    tls: tuple[Path, Path] | None = None
    keys: dict[str, str] = field(default_factory=lambda: {name: canary(name) for name in _ACTIONS})

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config = self.folder / "identities.json"
        self._config.write_text(json.dumps({"identities": [self._identity(name) for name in self.keys]}))
        self._ports = _free_ports(9)
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        # asked politely it takes half a minute
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def tls_endpoint(self) -> str:
        return f"https://127.0.0.1:{self._ports[1]}"

    def put(self, key: str, data: bytes, bucket: str = ROWS) -> None:
        self._admin(bucket).put(key, data)

    def secret(self, folder: Path, user: str = "reader", **changes: str | None) -> str:
        """A mounted Secret of a user; None leaves a key out."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": self.keys[user], **changes}
        for key, value in values.items():
            if value is not None:
                (folder / key).write_text(value, encoding="utf-8")
        return str(folder)

    def _admin(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id="admin",
            secret_access_key=self.keys["admin"],
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
        )

    def _identity(self, name: str) -> dict[str, Any]:
        credentials = [{"accessKey": name, "secretKey": self.keys[name]}]
        return {"name": name, "credentials": credentials, "actions": _ACTIONS[name]}

    def _command(self) -> list[str]:
        s3, https, s3_grpc, *rest = self._ports
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        ports = [f"-{name}={port}" for name, port in zip(names, rest, strict=True)]
        certificate: list[str] = []
        if self.tls:
            certificate = [f"-s3.port.https={https}", f"-s3.cert.file={self.tls[0]}", f"-s3.key.file={self.tls[1]}"]
        return [
            str(Path(sys.executable).with_name("weed")), "server", f"-dir={self.folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", *ports, "-volume.max=20", "-volume.minFreeSpace=1MiB", "-master.volumeSizeLimitMB=64",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self._config}", "-s3.iam=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", *certificate,
        ]  # fmt: skip

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                for bucket in (ROWS, PRIVATE):
                    self.put("ready", b"", bucket)
                return
            except BaseError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "server.log").read_text()[-4000:]) from None
                time.sleep(0.1)


class Relay(socketserver.ThreadingTCPServer):
    """Passes bytes on between clients and a server; lets `allowed` bytes of answers through, then breaks off."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, endpoint: str, allowed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        parts = urlsplit(endpoint)
        self.upstream = (parts.hostname or "", parts.port or 0)
        self.allowed = allowed
        self.passed = 0
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        if self.server.allowed <= 0:
            return
        with socket.create_connection(self.server.upstream) as upstream:
            asking = threading.Thread(target=self._pass_questions, args=(upstream,), daemon=True)
            asking.start()
            while (data := upstream.recv(1 << 16)) and self.server.allowed > 0:
                self.server.allowed -= len(data)
                self.server.passed += len(data)
                self.request.sendall(data)
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)

    def _pass_questions(self, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(1 << 16):
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(endpoint: str, allowed: int) -> Iterator[Relay]:
    """A relay for as long as the context lasts."""
    with Relay(endpoint, allowed) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
