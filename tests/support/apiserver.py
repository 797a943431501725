"""A real API server for tests: started once per session and taken down at its end, with a client of plain dicts.

VERNACULAR_TEST_KUBECONFIG names the kubeconfig of another server to use instead; nothing is started or stopped then.
VERNACULAR_TEST_KUBERNETES is the minor version to start, like 1.34, when it is not to be the usual one.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devcluster.paths import from_environment

REPOSITORY = Path(__file__).resolve().parents[2]
CRD_FILES = tuple(sorted((REPOSITORY / "crds").glob("*.yaml")))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class ApiError(Exception):
    """The server refused a request: `status` is the HTTP code, `message` the server's text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class ApiServer:
    """One API server; paths are those of its REST API, bodies are plain dicts."""

    kubeconfig: Path
    address: str
    tls: ssl.SSLContext = field(repr=False)

    def request(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> dict[str, Any]:
        """Send one request. Raises ApiError with the server's words."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": content_type}, method=method)
        # an empty proxy table: the server is on this machine, whatever the environment says
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            with suppress(ValueError, KeyError):
                text = json.loads(text)["message"]
            raise ApiError(error.code, text) from None

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl against this server; the exit status is the caller's to judge."""
        return subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def new_namespace(self, prefix: str = "test", labels: dict[str, str] | None = None) -> str:
        """Create a namespace with a name of its own."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})
        return name

    def install_crd(self) -> None:
        """Create or replace the CRDs and wait until the server serves them."""
        for file in CRD_FILES:
            self._install(yaml.safe_load(file.read_text(encoding="utf-8")))

    def _install(self, crd: dict[str, Any]) -> None:
        path = f"{CRDS}/{crd['metadata']['name']}"
        try:
            version = self.request("GET", path)["metadata"]["resourceVersion"]
        except ApiError as error:
            if error.status != 404:
                raise
            self.request("POST", CRDS, crd)
        else:
            crd["metadata"]["resourceVersion"] = version
            self.request("PUT", path, crd)
        plural = crd["spec"]["names"]["plural"]
        _wait("the CRD is not served", lambda: self._serves(f"/apis/vernacular.dev/v1alpha1/{plural}"))

    def _serves(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except ApiError:
            return False
        return True


def connect(kubeconfig: Path) -> ApiServer:
    """Read the current context of a kubeconfig that authenticates with a client certificate."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    with tempfile.TemporaryDirectory() as folder:
        authority = _file(cluster, "certificate-authority", Path(folder))
        tls = ssl.create_default_context(cafile=str(authority))
        tls.load_cert_chain(
            str(_file(user, "client-certificate", Path(folder))), str(_file(user, "client-key", Path(folder)))
        )
    return ApiServer(kubeconfig, cluster["server"], tls)


@contextmanager
def running(name: str, *, with_controllers: bool = False, audit_log: bool = True) -> Iterator[ApiServer]:
    """An API server for as long as the context lasts; its controllers (garbage collection, Jobs) only on request.

    support.audit reads the audit log.
    """
    if given := os.environ.get("VERNACULAR_TEST_KUBECONFIG"):
        yield connect(Path(given))
        return
    options = ["--with-controllers"] * with_controllers + ["--audit-log"] * audit_log
    if version := os.environ.get("VERNACULAR_TEST_KUBERNETES"):
        options.append(f"--kubernetes={version}")
    try:
        _devcluster("up", "--control-plane-only", "--name", name, *options)
        yield connect(from_environment().kubeconfig(name))
    finally:
        _devcluster("down", "--name", name)


def _devcluster(*arguments: str) -> None:
    command = [sys.executable, "-m", "devcluster", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"python3 -m devcluster {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _file(entry: dict[str, Any], key: str, folder: Path) -> Path:
    if key in entry:
        return Path(entry[key])
    path = folder / key
    path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
    return path


def _wait(what: str, condition: Any, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {timeout} s")
        time.sleep(0.05)
