"""The read-only half of an image registry: manifests and configurations. Layers are already on the nodes (see seed.py).

A program of its own: python3 server.py ADDRESS PORT FOLDER
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9-]+)/(?P<kind>manifests|blobs)/(?P<reference>[A-Za-z0-9_.:-]+)")


def find(folder: Path, path: str) -> Path | None:
    """The file that answers a request path (containerd adds a query), None when there is none."""
    match = _PATH.fullmatch(path.partition("?")[0])
    if not match or match["reference"].startswith("."):
        return None
    file = folder / match["name"] / match["kind"] / match["reference"]
    return file if file.is_file() else None


def publish(folder: Path, name: str, tag: str, manifest: bytes, config: bytes) -> None:
    """Make an image known under its tag and its digest. Each file appears whole."""
    digest, config_digest = (f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (manifest, config))
    files = {f"blobs/{config_digest}": config, f"manifests/{digest}": manifest, f"manifests/{tag}": manifest}
    for place, content in files.items():
        file = folder / name / place
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}")
        unfinished.write_bytes(content)
        unfinished.rename(file)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.folder = folder
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.rstrip("/") == "/v2":
            self._send(200, b"{}", "application/json", with_body=with_body)
            return
        file = find(self.server.folder, self.path)
        if file is None:
            error = {"errors": [{"code": "NOT_FOUND", "message": f"{self.path}: run `python3 -m devcluster images`"}]}
            self._send(404, json.dumps(error).encode(), "application/json", with_body=with_body)
            return
        content = file.read_bytes()
        kind = "application/octet-stream"
        if file.parent.name == "manifests":
            kind = json.loads(content).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        self._send(200, content, kind, with_body=with_body)

    def _send(self, status: int, content: bytes, kind: str, *, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status == 200:
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def main(address: str, port: str, folder: str) -> None:
    Server((address, int(port)), Path(folder)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
