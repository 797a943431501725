"""`python -m vernacular_operator run --config FILE [--kubeconfig FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from vernacular_operator.config import ConfigError, OperatorConfig, load_config
from vernacular_operator.kopf_edge.edge import watch
from vernacular_operator.kube.client import KubernetesClient, connect
from vernacular_operator.runtime import identity
from vernacular_operator.runtime.clock import SystemClock
from vernacular_operator.runtime.controller import Controller
from vernacular_operator.telemetry import logs
from vernacular_operator.telemetry.metrics import Metrics
from vernacular_operator.telemetry.server import serving
from vernacular_operator.tracking.mlflow import Credentials, MlflowClient

DEFAULT_CONFIG = Path("/etc/vernacular/config.yaml")
LIVENESS = "http://0.0.0.0:8080/healthz"


def main(arguments: list[str] | None = None) -> int:
    """Run the operator; returns the exit status, 2 for a configuration that cannot be used."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, options.log_format)
    try:
        config = load_config(options.config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _collect_garbage_seldom()
    uvloop.run(
        operate(
            config,
            options.kubeconfig,
            namespace=options.namespace,
            liveness=options.liveness,
            metrics_port=options.metrics_port or None,
        )
    )
    return 0


def _collect_garbage_seldom() -> None:
    """A job leaves hardly a cycle behind, and each look for cycles walks through all jobs: they took a twentieth of the
    operator's time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def operate(
    config: OperatorConfig,
    kubeconfig: Path | None,
    *,
    namespace: str = "",
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
    liveness: str | None = None,
    metrics_port: int | None = None,
) -> None:
    """Run the whole operator until `stop` is set, or until a signal when it is None. Ends when either half ends.

    `namespace` is the operator's own.
    """
    metrics = Metrics()
    client = await connect(kubeconfig, metrics.api_request)
    try:
        mlflow = MlflowClient(config.mlflow.tracking_uri, _credentials())
        cluster = await _cluster(client, config, namespace)
        controller = Controller(client, mlflow, config, SystemClock(), cluster, metrics)
        metrics.observe_state(controller.state)
        async with serving(metrics, metrics_port):
            await _run_both(watch(controller, client, config, stop=stop, ready=ready, liveness=liveness), controller)
    finally:
        await client.close()


async def _cluster(client: KubernetesClient, config: OperatorConfig, namespace: str) -> str:
    if config.watch_namespaces:
        return await identity.of_an_install(client, client.authority(), namespace)
    return await identity.of_the_cluster(client)


async def _run_both(watch_layer: Coroutine[Any, Any, None], controller: Controller) -> None:
    watching = asyncio.create_task(watch_layer, name="watch")
    working = asyncio.create_task(controller.run(), name="work")
    done, pending = await asyncio.wait((watching, working), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        # Kopf cancels what runs beside it when it is told to stop
        if not task.cancelled():
            task.result()


def _credentials() -> Credentials:
    names = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    return Credentials(*(os.environ.get(name, "") for name in names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vernacular_operator", description="Watch FineTuneJobs and run their stages."
    )
    parser.add_argument("command", nargs="?", choices=["run"], default="run", help="what to do; run is all there is")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="the operator's configuration (YAML)")
    parser.add_argument("--namespace", default="", help="the operator's own; names the cluster with watchNamespaces")
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig; default: the pod's service account")
    parser.add_argument("--liveness", default=LIVENESS, help="URL of the health endpoint")
    parser.add_argument("--metrics-port", type=int, default=0, help="port for Prometheus; 0: none")
    parser.add_argument("--log-format", default="text", choices=["json", "text"])
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser
