"""A FineTuneJob's life on a real API server with the real Job controller; only the kubelet is simulated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.embedded_operator import User, condition, eventually, operator_config, running_operator, stage
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import Behaviour, SimulatedKubelet, fail, hold_until_stopped, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = pytest.mark.integration


async def test_four_stages_to_succeeded(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    config = operator_config(mlflow_server.uri, user.namespace)
    storage = {"workspace": {"accessMode": "ReadWriteMany"}}
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot", compute={"pods": 2, "gpusPerPod": 0}, storage=storage)
        job = await user.until_state("hr-bot", "Succeeded")

    status = job["status"]
    assert [condition(job, kind) for kind in ("Accepted", "Prepared", "Trained", "Evaluated", "Published")] == [
        "True"
    ] * 5
    assert (condition(job, "Complete"), condition(job, "Failed")) == ("True", "False")
    assert [(item["name"], item["state"], item["attempt"]) for item in status["stages"]] == [
        (name, "Succeeded", 1) for name in ("Prepare", "Train", "Evaluate", "Publish")
    ]
    assert status["dataset"]["rows"] == 100
    assert status["plan"]["values"][0] == {"name": "learningRate", "value": "2e-4", "reason": "default"}
    assert status["evaluation"]["verdict"] == "Promote"
    assert status["evaluation"]["gainPoints"] == {"value": 80, "low": 60, "high": 95}
    assert status["progress"]["percent"] == 100
    assert status["checkpoints"]["latestStep"] == 40
    assert status["mlflow"]["modelVersion"] == "1"
    assert status["mlflow"]["registeredModel"] == f"{user.namespace}.hr-bot"
    run_id, experiment = status["mlflow"]["runID"], status["mlflow"]["experimentID"]
    assert status["mlflow"]["url"] == f"https://mlflow.example.org/#/experiments/{experiment}/runs/{run_id}"
    assert status["completionTime"] >= status["startTime"]

    run = MlflowClient(mlflow_server.uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["vernacular.dev/uid"] == job["metadata"]["uid"]
    assert run.data.tags["vernacular.dev/namespace"] == user.namespace
    assert kubelet.configs[0].tracking.run_id == ""
    assert {item.tracking.run_id for item in kubelet.configs if item.stage != Stage.PREPARE} == {run_id}
    assert [item.stage for item in kubelet.configs].count(Stage.TRAIN) == 2
    assert {event["reason"] for event in await user.events()} >= {"PrepareStarted", "TrainSucceeded", "Succeeded"}


async def test_a_users_error_fails_the_job_before_training(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    kubelet.script = lambda _: fail(
        "DatasetUnreadable", "train.jsonl line 7 is not JSON", advice="mend line 7", evidence="train.jsonl:7"
    )
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        job = await user.until_state("hr-bot", "Failed")
        assert job["status"]["failure"] == {
            "stage": "Prepare",
            "code": "DatasetUnreadable",
            "message": "train.jsonl line 7 is not JSON",
            "advice": "mend line 7",
            "evidence": "train.jsonl:7",
        }
        assert job["status"]["reason"] == "DatasetUnreadable"
        assert condition(job, "Failed") == "True"
        assert [item["metadata"]["labels"]["vernacular.dev/stage"] for item in await user.jobs()] == ["prepare"]


async def test_suspend_saves_a_checkpoint_and_resume_is_a_new_attempt(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    def script(config: JobConfig) -> Behaviour:
        first = config.stage == Stage.TRAIN and config.attempt == 1
        return hold_until_stopped(13) if first else succeed(config)

    kubelet.script = script
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        await user.until_state("hr-bot", "Training")
        await user.suspend("hr-bot", True)
        job = await user.until_state("hr-bot", "Suspended")
        assert job["status"]["checkpoints"]["latestStep"] == 13
        assert condition(job, "Suspended") == "True"

        await user.suspend("hr-bot", False)
        job = await user.until_state("hr-bot", "Succeeded")
        assert stage(job, "Train")["attempt"] == 2
        assert condition(job, "Suspended") == "False"
        assert job["status"].get("usage", {}).get("restarts", 0) == 0


async def test_deleting_a_job_removes_its_children_and_closes_its_run(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    kubelet.script = lambda config: hold_until_stopped(3) if config.stage == Stage.TRAIN else succeed(config)
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        job = await user.until_state("hr-bot", "Training")
        await user.request("DELETE", user.path("hr-bot"))

        async def gone() -> bool:
            killed = await asyncio.to_thread(_run_status, mlflow_server, job) == "KILLED"
            return killed and not await user.jobs()

        await eventually(gone)


async def test_a_new_operator_carries_on_where_the_old_one_stopped(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    kubelet.script = lambda config: hold_until_stopped(3) if config.stage == Stage.TRAIN else succeed(config)
    config = operator_config(mlflow_server.uri, user.namespace)
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot")
        before = await user.until_state("hr-bot", "Training")
    kubelet.script = succeed
    kubelet.release()
    async with running_operator(api_server_with_controllers, config):
        job = await user.until_state("hr-bot", "Succeeded")
    assert stage(job, "Train")["attempt"] == 1, [event["message"] for event in await user.events()]
    assert job["status"]["mlflow"]["runID"] == before["status"]["mlflow"]["runID"]
    assert len(await user.jobs()) == 4


async def test_a_run_whose_job_was_deleted_while_the_operator_was_away_is_closed(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    kubelet.script = lambda config: hold_until_stopped(3) if config.stage == Stage.TRAIN else succeed(config)
    config = operator_config(mlflow_server.uri, user.namespace)
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot")
        job = await user.until_state("hr-bot", "Training")
    await user.request("DELETE", user.path("hr-bot"))
    assert await asyncio.to_thread(_run_status, mlflow_server, job) == "RUNNING"

    async def killed() -> bool:
        return await asyncio.to_thread(_run_status, mlflow_server, job) == "KILLED"

    async with running_operator(api_server_with_controllers, config):
        await eventually(killed)


def _run_status(server: MlflowServer, job: dict[str, Any]) -> str:
    return str(MlflowClient(server.uri).get_run(job["status"]["mlflow"]["runID"]).info.status)
