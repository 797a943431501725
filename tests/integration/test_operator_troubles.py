"""Troubles around a job on a real API server: names taken, MLflow away, attempts that fail, and the process itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.embedded_operator import User, condition, eventually, operator_config, running_operator, stage
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import Behaviour, SimulatedKubelet, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = pytest.mark.integration
RSS_LIMIT_MIB = 150


async def test_a_job_of_the_same_name_is_never_touched(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    job = await user.create("hr-bot")
    name = f"hr-bot-{job['metadata']['uid'][:5]}-prepare-1"
    path = f"/apis/batch/v1/namespaces/{user.namespace}/jobs"
    container = {"name": "mine", "image": "example.org/mine:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    theirs = {"metadata": {"name": name}, "spec": {"suspend": True, "template": template}}
    before = await user.request("POST", path, theirs)

    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        job = await user.until("hr-bot", lambda status: status.get("reason") == "NameConflict")
        assert name in job["status"]["message"]
        assert condition(job, "Accepted") == "False"
        after = await user.request("GET", f"{path}/{name}")
        assert after["spec"] == before["spec"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_mlflow_away_at_the_start_is_waited_for(
    api_server_with_controllers: ApiServer, kubelet: SimulatedKubelet, user: User, tmp_path: Path
) -> None:
    server = MlflowServer(tmp_path)
    async with running_operator(api_server_with_controllers, operator_config(server.uri, user.namespace)):
        await user.create("hr-bot")
        job = await user.until("hr-bot", lambda status: status.get("reason") == "TrackingUnavailable")
        assert stage(job, "Prepare")["state"] == "Succeeded"
        assert "MLflow" in job["status"]["message"]
        assert all(item.stage == Stage.PREPARE for item in kubelet.configs)

        await asyncio.to_thread(server.start)
        try:
            job = await user.until_state("hr-bot", "Succeeded", 120)
            run_id = job["status"]["mlflow"]["runID"]

            async def closed() -> bool:
                run = await asyncio.to_thread(MlflowClient(server.uri).get_run, run_id)
                return bool(run.info.status == "FINISHED")

            await eventually(closed)
        finally:
            await asyncio.to_thread(server.stop)


async def test_a_failed_attempt_is_tried_again_and_progress_comes_from_mlflow(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    def script(config: JobConfig) -> Behaviour:
        if config.stage != Stage.TRAIN:
            return succeed(config)
        return Behaviour(None, 1) if config.attempt == 1 else Behaviour(None, 0, hold=True)

    kubelet.script = script
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        job = await user.until("hr-bot", lambda status: status.get("usage", {}).get("restarts") == 1)
        assert job["status"]["reason"] == "Retrying"
        job = await user.until_state("hr-bot", "Training")
        assert stage(job, "Train")["attempt"] == 2

        client, run_id = MlflowClient(mlflow_server.uri), job["status"]["mlflow"]["runID"]
        for step in (10, 20):
            await asyncio.to_thread(_log, client, run_id, step)
            job = await user.until("hr-bot", lambda status, s=step: status.get("progress", {}).get("step") == s)  # type: ignore[misc]
        assert job["status"]["progress"]["percent"] == 50
        assert job["status"]["progress"]["loss"] == "0.25"
        assert job["status"]["progress"]["etaSeconds"] >= 0
        tags = (await asyncio.to_thread(client.get_run, run_id)).data.tags
        assert tags["vernacular.dev/attempt"] == "2"
        kubelet.release()
        await user.until_state("hr-bot", "Succeeded")


async def test_two_jobs_at_once_do_not_disturb_each_other(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("one")
        await user.create("two")
        one, two = await user.until_state("one", "Succeeded"), await user.until_state("two", "Succeeded")
        assert one["status"]["mlflow"]["runID"] != two["status"]["mlflow"]["runID"]
        settled = [item["metadata"]["resourceVersion"] for item in (one, two)]

        # a finished job costs no more writes, also over a resync
        await asyncio.sleep(3)
        now = [(await user.get(name))["metadata"]["resourceVersion"] for name in ("one", "two")]
        assert now == settled


async def test_the_process_serves_all_namespaces_is_healthy_and_small_and_ends_on_sigterm(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    everywhere = operator_config(mlflow_server.uri, namespace, watchNamespaces=[])
    config = everywhere.model_dump(mode="json", by_alias=True)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    url = f"http://127.0.0.1:{_free_port()}/healthz"
    arguments = [
        "run",
        "--config",
        str(path),
        "--kubeconfig",
        str(api_server_with_controllers.kubeconfig),
        "--liveness",
        url,
    ]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "vernacular_operator", *arguments)
    try:

        async def healthy() -> bool:
            return await asyncio.to_thread(_get, url) == {"work": "ok"}

        await eventually(healthy)
        user = User(api_server_with_controllers, namespace)
        await user.create("hr-bot")
        await user.until_state("hr-bot", "Preparing")
        assert _rss_mib(process.pid) < RSS_LIMIT_MIB
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()


def _log(client: MlflowClient, run_id: str, step: int) -> None:
    values = {"progress/step": step, "progress/total_steps": 40, "train/loss": 0.25, "train/tokens_per_second": 900.0}
    for name, value in values.items():
        client.log_metric(run_id, name, value, step=step)


def _get(url: str) -> object:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)
    return None


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    mib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    print(f"operator: {mib:.0f} MiB RSS idle")
    return mib


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
