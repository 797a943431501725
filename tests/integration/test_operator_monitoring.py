"""Dashboards and alerts over a real Prometheus and a real operator, while one job trains and one has failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from support.apiserver import ApiServer
from support.embedded_operator import User, eventually, operator_config
from support.mlflow_server import MlflowServer
from support.operator_process import OperatorProcess
from support.prometheus import DASHBOARDS, Prometheus, expressions
from support.service_accounts import operator_account
from support.simulated_kubelet import Behaviour, SimulatedKubelet, fail, hold_until_stopped, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = pytest.mark.integration
OTHERS = ("container_", "DCGM_")
RUNTIMES = "/apis/vernacular.dev/v1alpha1/finetuneruntimes"


def script(config: JobConfig) -> Behaviour:
    if config.identity.name == "broken":
        return fail("DatasetUnreadable", "train.jsonl line 7 is not JSON")
    holds = config.stage == Stage.TRAIN and (config.identity.name == "runs" or config.attempt == 1)
    return hold_until_stopped(13) if holds else succeed(config)


@asynccontextmanager
async def operating(
    server: ApiServer, mlflow: MlflowServer, user: User, folder: Path
) -> AsyncIterator[OperatorProcess]:
    config = operator_config(mlflow.uri, user.namespace, watchNamespaces=[])
    kubeconfig = await asyncio.to_thread(operator_account, server, (), folder)
    process = OperatorProcess(config, kubeconfig, folder, with_metrics=True)
    process.start()
    try:
        await asyncio.to_thread(process.wait_healthy)
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def test_every_panel_shows_something_and_every_alert_can_be_evaluated(
    api_server_with_controllers: ApiServer,
    mlflow_server: MlflowServer,
    kubelet: SimulatedKubelet,
    user: User,
    tmp_path: Path,
) -> None:
    kubelet.script = script
    price = {"cost": {"gpuPricePerHour": "3600", "currency": "EUR"}}
    body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneRuntime", "metadata": {"name": "priced"}}
    await user.request("POST", RUNTIMES, {**body, "spec": price})
    try:
        async with operating(api_server_with_controllers, mlflow_server, user, tmp_path) as operator:
            with Prometheus(f"127.0.0.1:{operator.metrics_port}", tmp_path) as prometheus:
                for name in ("runs", "ends"):
                    await user.create(name, compute={"gpusPerPod": 2}, runtimeRef={"name": "priced"})
                await user.create("broken")
                await user.until_state("broken", "Failed")
                for name in ("runs", "ends"):
                    await user.until_state(name, "Training")
                job = await user.get("runs")
                await asyncio.to_thread(report, mlflow_server.uri, job["status"]["mlflow"]["runID"])
                await user.until("runs", lambda status: status.get("progress", {}).get("evalLoss"))
                await user.suspend("ends", True)
                await user.until_state("ends", "Suspended")
                await user.suspend("ends", False)
                ended = await user.until_state("ends", "Succeeded")
                assert float(ended["status"]["usage"]["cost"]) == ended["status"]["usage"]["gpuSeconds"] > 0

                wanted = [item for path in DASHBOARDS for item in expressions(path)]
                own = {resolved(item, user.namespace) for item in wanted if not any(name in item for name in OTHERS)}
                await eventually(lambda: _answers(prometheus, own), 30)
                for item in set(wanted) - own:
                    prometheus.query(resolved(item, user.namespace))
                health = prometheus.rules()
                assert health
                assert set(health.values()) == {"ok"}, health
    finally:
        await user.request("DELETE", f"{RUNTIMES}/priced")


def report(uri: str, run_id: str) -> None:
    """What a training logs: two steps, so that its pace is known."""
    values = {"progress/total_steps": 40, "train/loss": 0.5, "eval/loss": 0.6, "train/tokens_per_second": 1000}
    metrics = [Metric(name, value, 1000, 10) for name, value in values.items()]
    MlflowClient(uri).log_batch(run_id, metrics)
    for step in (10, 11):
        MlflowClient(uri).log_metric(run_id, "progress/step", step, step=step)
        time.sleep(1)


def resolved(expression: str, namespace: str) -> str:
    """A dashboard's query with its variables filled in."""
    values = {"$__rate_interval": "30s", "$__range": "2m", "$namespace": namespace, "$job": "runs"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


async def _answers(prometheus: Prometheus, wanted: set[str]) -> bool:
    for item in list(wanted):
        if await asyncio.to_thread(prometheus.query, item):
            wanted.discard(item)
    return not wanted
