"""A small hub on loopback: the few addresses that downloads of models and data sets ask for."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """Serves one folder as `repository`, branch main. With `token` it is private, or, when `gated`, its content is for
    those with the token whose terms are accepted; the list of its files everybody sees, as on the public hub.

    `kind`: models or datasets. `forbidden`: a file that nobody may read. Lists of files come in pages of `page`. Of
    `requests`, the paths asked for, `downloads` are those whose content was sent; the first `broken` downloads of a
    weight file break off half way.
    """

    repository: str
    folder: Path
    token: str = ""
    gated: bool = False
    broken: int = 0
    kind: str = "models"
    forbidden: str = ""
    page: int = 1000
    downloads: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> HubServer:
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def has(self, path: str) -> bool:
        """Whether an address is one of the repository's."""
        files = "/datasets/" if self.kind == "datasets" else "/"
        return path.startswith((f"/api/{self.kind}/{self.repository}", f"{files}{self.repository}"))


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self, body: bool) -> None:
        hub, path = self.server_of, unquote(urlparse(self.path).path)
        hub.requests.append(path)
        if not hub.has(path):
            return self._refuse(404, "RepoNotFound")
        rest = path.partition(hub.repository)[2].strip("/").split("/")
        known = bool(hub.token) and self.headers.get("Authorization") == f"Bearer {hub.token}"
        if hub.token and not hub.gated and not known:
            return self._refuse(401, "RepoNotFound")
        if hub.gated and not known and rest[0] == "resolve":
            return self._refuse(403, "GatedRepo")
        if hub.forbidden and path.endswith(hub.forbidden):
            return self._refuse(403, "")
        if rest[1:2] and rest[1] not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if rest[0] == "resolve":
            return self._file("/".join(rest[2:]), body)
        if rest[0] == "tree":
            return self._tree(body)
        return self._json(self._info(), body)

    def _info(self) -> object:
        hub = self.server_of
        siblings = [{"rfilename": name} for name in hub.files()[: hub.page]]
        return {"id": hub.repository, "modelId": hub.repository, "sha": COMMIT, "private": False, "siblings": siblings}

    def _tree(self, body: bool) -> None:
        hub, url = self.server_of, urlparse(self.path)
        start = int(dict(parse_qsl(url.query)).get("cursor", 0))
        entries = [
            {"type": "file", "path": name, "size": (hub.folder / name).stat().st_size, "oid": "0" * 40}
            for name in hub.files()
        ]
        end = start + hub.page
        more = {"Link": f'<{hub.url}{url.path}?recursive=true&cursor={end}>; rel="next"'} if end < len(entries) else {}
        self._json(entries[start:end], body, **more)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "refused")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, document: object, body: bool, **headers: str) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _file(self, name: str, body: bool) -> None:
        path = self.server_of.folder / name
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        data = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return None
        self.server_of.downloads.append(name)
        if self.server_of.broken and name.endswith(".safetensors"):
            self.server_of.broken -= 1
            self.wfile.write(data[start : len(data) // 2])
            self.close_connection = True
            return None
        self.wfile.write(data[start:])
        return None
