"""A web server of files over TLS that does as a test says: breaks off, redirects, asks for a login, gives no ranges."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


@dataclass
class FileServer:
    """Serves `files` by their paths at https://127.0.0.1. `etag`: of all of them, "" for none. `ranges`: whether a part
    of a file is given. `broken`: so many answers break off half way. `login`: what Authorization must be. `redirects`:
    paths and where they lead. `statuses`: paths and the bare status that they are answered with.

    `requests`: path, Range and Authorization of each request.
    """

    authority: trustme.CA
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"v1"'
    ranges: bool = True
    length: bool = True
    broken: int = 0
    login: str = ""
    page: bool = False
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def __enter__(self) -> FileServer:
        server = self

        class Handler(_Handler):
            server_of = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", "localhost", "files.example.com").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """As a list of allowed hosts names it."""
        return f"127.0.0.1:{self.port}"

    def secret(self, folder: Path, **keys: str) -> str:
        """A mounted Secret with these keys and the authority's certificate; returns its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in {"ca.crt": self.authority.cert_pem.bytes().decode(), **keys}.items():
            (folder / key).write_text(value)
        return str(folder)


class _Handler(BaseHTTPRequestHandler):
    server_of: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        server = self.server_of
        wanted = self.headers.get("Range", "")
        server.requests.append((self.path, wanted, self.headers.get("Authorization", "")))
        if self.path in server.redirects:
            return self._bare(302, Location=server.redirects[self.path])
        if self.path in server.statuses:
            return self._bare(server.statuses[self.path])
        if server.login and self.headers.get("Authorization") != server.login:
            return self._bare(401)
        if self.path not in server.files:
            return self._bare(404)
        return self._file(server.files[self.path], wanted)

    def _file(self, data: bytes, wanted: str) -> None:
        server = self.server_of
        whole = not (wanted and server.ranges and self.headers.get("If-Range", server.etag) == server.etag)
        first, _, last = wanted.removeprefix("bytes=").partition("-") if not whole else ("0", "", "")
        start, end = int(first), min(int(last or len(data)) + 1, len(data))
        if not whole and start >= len(data):
            return self._bare(416, **{"Content-Range": f"bytes */{len(data)}"})
        part = data if whole else data[start:end]
        self.send_response(200 if whole else 206)
        self.send_header("Content-Type", "text/html" if server.page else "application/octet-stream")
        if server.etag:
            self.send_header("ETag", server.etag)
        if not whole:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        if server.length:
            self.send_header("Content-Length", str(len(part)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if server.broken and len(part) > 1:
            server.broken -= 1
            self._body(part[: len(part) // 2], last=False)
            self.close_connection = True
            return None
        return self._body(part)

    def _body(self, data: bytes, last: bool = True) -> None:
        if self.server_of.length:
            self.wfile.write(data)
        else:
            end = b"0\r\n\r\n" if last else b""
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" + end)

    def _bare(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
