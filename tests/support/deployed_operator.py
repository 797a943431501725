"""The operator as the chart installs it, with its service account, rights and configuration, as its own process."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.apiserver import ApiServer
from support.helm import CHART, Helm


@dataclass(frozen=True)
class OperatorProcess:
    """A running operator; `health` is the URL of its probe."""

    pid: int
    log: Path
    health: str


@contextmanager
def installed(api_server: ApiServer, helm: Helm, namespace: str, values: dict[str, Any]) -> Iterator[None]:
    """The chart as a release called like its namespace, so that cluster roles of two releases differ."""
    target = ("-n", namespace, f"--kubeconfig={api_server.kubeconfig}")
    options = ("--set", "fullnameOverride=vernacular", "--take-ownership")
    helm.run("upgrade", "--install", "vernacular", str(CHART), *target, *options, values=values)
    try:
        yield
    finally:
        helm.run("uninstall", "vernacular", *target)


def write_kubeconfig(api_server: ApiServer, namespace: str, account: str, path: Path) -> None:
    """A kubeconfig of a service account, good for an hour."""
    request = {"spec": {"expirationSeconds": 3600}}
    token_path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    token = api_server.request("POST", token_path, request)["status"]["token"]
    authorities = "".join(ssl.DER_cert_to_PEM_cert(each) for each in api_server.tls.get_ca_certs(binary_form=True))
    cluster = {
        "server": api_server.address,
        "certificate-authority-data": base64.b64encode(authorities.encode()).decode(),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "account",
        "clusters": [{"name": "server", "cluster": cluster}],
        "users": [{"name": "account", "user": {"token": token}}],
        "contexts": [{"name": "account", "context": {"cluster": "server", "user": "account"}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


@contextmanager
def operator(api_server: ApiServer, namespace: str, folder: Path) -> Iterator[OperatorProcess]:
    """The operator's process with the configuration and the rights of its Deployment, once it is healthy."""
    config_map = api_server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/vernacular")
    (folder / "config.yaml").write_text(config_map["data"]["config.yaml"], encoding="utf-8")
    write_kubeconfig(api_server, namespace, "vernacular", folder / "kubeconfig")
    deployment = api_server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/vernacular")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    args = [each.replace("/etc/vernacular", str(folder)) for each in container["args"]]
    health = f"http://127.0.0.1:{_free_port()}{container['livenessProbe']['httpGet']['path']}"
    log = folder / "operator.log"
    command = [sys.executable, "-m", "vernacular_operator", *args]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, f"--kubeconfig={folder / 'kubeconfig'}", f"--liveness={health}"], stdout=output, stderr=output
        )
    try:
        wait("the operator is not healthy", lambda: healthy(health), log)
        yield OperatorProcess(process.pid, log, health)
    finally:
        process.terminate()
        process.wait(30)


def healthy(url: str) -> bool:
    """Whether a probe of this URL succeeds."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(what: str, condition: Callable[[], bool], log: Path, timeout: float = 60) -> None:
    """Wait until a condition holds. Fails with the end of the log when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {timeout} s:\n{log.read_text(errors='replace')[-3000:]}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
