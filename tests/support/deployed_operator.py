"""The operator as the chart installs it, with its service account, rights and configuration, as its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from support.apiserver import ApiServer
from support.helm import CHART, Helm
from support.operator_process import OperatorProcess
from support.service_accounts import write_kubeconfig
from vernacular_operator.config import parse_config


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


@contextmanager
def operator(
    api_server: ApiServer, namespace: str, folder: Path, metrics_port: int = 0, *, with_authority: bool = True
) -> Iterator[OperatorProcess]:
    """The operator's process with the configuration, arguments and rights of its Deployment, once it is healthy."""
    config_map = api_server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/vernacular")
    config = parse_config(yaml.safe_load(config_map["data"]["config.yaml"]))
    path = folder / "kubeconfig"
    kubeconfig = write_kubeconfig(api_server, namespace, "vernacular", path, with_authority=with_authority)
    deployment = api_server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/vernacular")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    # the port of the metrics may be taken on this machine
    other = ("run", "--config=", "--metrics-port=")
    own = [each for each in container["args"] if not each.startswith(other)]
    own.append(f"--metrics-port={metrics_port}")
    process = OperatorProcess(config, kubeconfig, folder, own)
    process.start()
    try:
        process.wait_healthy()
        yield process
    finally:
        process.stop()


def wait(what: str, condition: Callable[[], bool], log: Path, timeout: float = 60) -> None:
    """Wait until a condition holds. Fails with the end of the log when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {timeout} s:\n{log.read_text(errors='replace')[-3000:]}"
        time.sleep(0.05)
