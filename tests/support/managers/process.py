"""A manager as a process of this machine, with a service account and a serving certificate of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
import yaml

from devcluster.control_plane import free_ports
from devcluster.paths import Paths
from devcluster.shell import run
from support.apiserver import ApiServer
from support.managers import programs
from support.managers.manifests import Json, Ports, account, arguments, configuration, installable
from support.managers.programs import Manager
from support.service_accounts import write_kubeconfig

# below the folder for temporary files, where most look for it
SERVING_CERTIFICATES = "k8s-webhook-server/serving-certs"
_READY_SECONDS = 60.0


class ManagerProcess:
    """An installed manager: started, ended and started again at the same addresses. `folder` is for its files.

    `changes` are merged into the parts of its configuration. Raises DevclusterError when it cannot be had or installed.
    """

    def __init__(self, paths: Paths, server: ApiServer, manager: Manager, folder: Path, changes: Json) -> None:
        self._program, documents = programs.program(paths, manager), programs.manifests(paths, manager)
        ports, authority = Ports(*free_ports(2)), trustme.CA()
        _install(paths, server, manager, installable(documents, ports, authority.cert_pem.bytes()))
        _write_certificate(authority, folder / SERVING_CERTIFICATES)
        self._prefix: list[str] = []
        if manager.metrics_certificates:
            _write_certificate(authority, folder / "etc" / manager.metrics_certificates)
            self._prefix = _with_more_below_etc(folder / "etc")
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(configuration(documents, ports, manager.certificates, changes)))
        self._arguments = arguments(documents, str(config))
        self._kubeconfig = write_kubeconfig(server, manager.namespace, account(documents), folder / "kubeconfig")
        self._probe = f"http://127.0.0.1:{ports.health}/readyz"
        self._folder = folder
        self.log = folder / "manager.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it and wait until it is ready; returns its pid. Raises TimeoutError with the end of its log."""
        # both look for their certificate below the folder for temporary files
        environment = {**os.environ, "TMPDIR": str(self._folder), "KUBECONFIG": str(self._kubeconfig)}
        with self.log.open("ab") as output:
            command = [*self._prefix, self._program, *self._arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _wait_ready(self.process, self._probe, self.log)
        return self.process.pid

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextmanager
def running(
    paths: Paths, server: ApiServer, manager: Manager, folder: Path, changes: Json | None = None
) -> Iterator[ManagerProcess]:
    """A manager that is installed, runs and is ready."""
    process = ManagerProcess(paths, server, manager, folder, changes or {})
    try:
        process.start()
        yield process
    finally:
        process.stop()


def _install(paths: Paths, server: ApiServer, manager: Manager, documents: list[Json]) -> None:
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": manager.namespace}})
    kubectl: list[str | Path] = [programs.kubectl(paths), f"--kubeconfig={server.kubeconfig}"]
    every = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    # client-side apply would write the CRDs into an annotation, for which they are too big
    run([*kubectl, "apply", "--server-side", "-f", "-"], stdin=every)
    run([*kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])


def _with_more_below_etc(folder: Path) -> list[str]:
    """The start of a command that sees these files below /etc, and nobody else does."""
    script = f'mount -t overlay overlay -o lowerdir={folder}:/etc /etc && exec "$0" "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _write_certificate(authority: trustme.CA, target: Path) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    target.mkdir(parents=True)
    certificate.private_key_pem.write_to_path(target / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(target / "tls.crt", append=True)


def _wait_ready(process: subprocess.Popen[bytes], probe: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(probe):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{log.parent.name} is not ready:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def _answers(probe: str) -> bool:
    try:
        with urllib.request.urlopen(probe, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
