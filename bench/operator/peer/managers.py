"""The peer's managers as processes of this machine, with a service account and a serving certificate each."""

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

from bench.operator.api import flow_schema
from bench.operator.marks import FLOW_PREFIX
from bench.operator.peer import programs
from bench.operator.peer.manifests import Json, Limit, Ports, account, arguments, configuration, installable
from bench.operator.peer.programs import Peer
from devcluster.control_plane import free_ports
from devcluster.paths import Paths
from devcluster.shell import run
from support.apiserver import ApiServer
from support.service_accounts import write_kubeconfig

_FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
_READY_SECONDS = 60.0


def flow(peer: Peer) -> str:
    """The flow schema in which the manager's requests are counted."""
    return f"{FLOW_PREFIX}{peer.name}"


@contextmanager
def manager(paths: Paths, server: ApiServer, peer: Peer, limit: Limit | None, folder: Path) -> Iterator[int]:
    """pid of a manager that is installed, runs and is ready; `folder` is for its files.

    Raises TimeoutError with the end of its log, DevclusterError when it cannot be built or installed.
    """
    program, documents = programs.program(paths, peer), programs.manifests(paths, peer)
    ports, authority = Ports(*free_ports(2)), trustme.CA()
    _install(paths, server, peer, installable(documents, ports, authority.cert_pem.bytes()))
    server.request("POST", _FLOWS, flow_schema(flow(peer), peer.namespace, account(documents)))
    _write_certificate(authority, folder)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(documents, ports, peer.certificates, limit)))
    kubeconfig = write_kubeconfig(server, peer.namespace, account(documents), folder / "kubeconfig")
    # both look for their certificate below the folder for temporary files
    environment = {**os.environ, "TMPDIR": str(folder), "KUBECONFIG": str(kubeconfig)}
    log = folder / "manager.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments(documents, str(config))], env=environment, stdout=output, stderr=output
        )
    try:
        _wait_ready(process, f"http://127.0.0.1:{ports.health}/readyz", log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _install(paths: Paths, server: ApiServer, peer: Peer, documents: list[Json]) -> None:
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": peer.namespace}})
    kubectl: list[str | Path] = [programs.kubectl(paths), f"--kubeconfig={server.kubeconfig}"]
    every = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    # client-side apply would write the CRDs into an annotation, for which they are too big
    run([*kubectl, "apply", "--server-side", "-f", "-"], stdin=every)
    run([*kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])


def _write_certificate(authority: trustme.CA, folder: Path) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    target = folder / "k8s-webhook-server" / "serving-certs"
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
