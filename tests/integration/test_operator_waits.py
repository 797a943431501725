"""Whatever a stage waits for, `kubectl get ftj` and `kubectl describe ftj` say it: on a real API server, pod by pod."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mlflow import MlflowClient

from support.apiserver import MERGE_PATCH, ApiServer
from support.embedded_operator import User, eventually, operator_config, running_operator
from support.mlflow_server import MlflowServer
from vernacular_trainer.contract import PHASE_TAG, Phase, PhaseReport, Stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
RUNNING = {"phase": "Running", "conditions": [SCHEDULED]}


def unschedulable(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container({"waiting": {"reason": reason, "message": message}})


def container(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    entry = {
        "name": "stage", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state,
    }  # fmt: skip
    return {"containerStatuses": [entry], **status}


WAITS = [
    pytest.param(
        unschedulable("0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available."),
        "Unschedulable",
        "none of 2 nodes can take it: 2 Insufficient cpu",
        id="no node",
    ),
    pytest.param(
        unschedulable("pod has unbound immediate PersistentVolumeClaims"), "VolumeNotBound", "unbound", id="no volume"
    ),
    pytest.param(waiting("ContainerCreating"), "Starting", "ContainerCreating", id="starting"),
    pytest.param(
        waiting("ImagePullBackOff", "Back-off: not found"),
        "ImagePull",
        "example.org/data:1: ImagePullBackOff",
        id="image",
    ),
    pytest.param(waiting("CreateContainerError", "no such user"), "WaitingForPod", "no such user", id="container"),
    pytest.param(
        container({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, **RUNNING), "Running", "Prepare", id="running"
    ),
]


async def pod_of(user: User, name: str) -> str:
    """Path of the only pod of a job, once the Job controller has made it."""
    pods = f"/api/v1/namespaces/{user.namespace}/pods"
    found: list[str] = []

    async def made() -> bool:
        answer = await user.request("GET", f"{pods}?labelSelector=vernacular.dev/job-name={name}")
        found[:] = [item["metadata"]["name"] for item in answer["items"]]
        return bool(found)

    await eventually(made)
    return f"{pods}/{found[0]}"


@pytest.mark.parametrize(("status", "reason", "told"), WAITS)
async def test_a_wait_is_told(
    api_server_with_controllers: ApiServer,
    mlflow_server: MlflowServer,
    user: User,
    status: dict[str, Any],
    reason: str,
    told: str,
) -> None:
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        await user.request("PATCH", f"{await pod_of(user, 'hr-bot')}/status", {"status": status}, MERGE_PATCH)
        job = await user.until(
            "hr-bot", lambda found: found.get("reason") == reason and told in found.get("message", "")
        )

        assert job["status"]["state"] == "Preparing"
        prepared = next(item for item in job["status"]["conditions"] if item["type"] == "Prepared")
        assert (prepared["status"], prepared["reason"]) == ("False", reason)
        shown = await asyncio.to_thread(
            api_server_with_controllers.kubectl, "get", "ftj", "hr-bot", "-n", user.namespace, "-o", "wide"
        )
        assert reason in shown.stdout


async def test_what_a_running_stage_does_is_told(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, user: User
) -> None:
    config = operator_config(mlflow_server.uri, user.namespace)
    client = MlflowClient(mlflow_server.uri)
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot")
        running = container({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, **RUNNING)
        await user.request("PATCH", f"{await pod_of(user, 'hr-bot')}/status", {"status": running}, MERGE_PATCH)
        job = await user.until(
            "hr-bot", lambda found: found.get("reason") == "Running" and "runID" in found.get("mlflow", {})
        )
        for phase, detail in ((Phase.DOWNLOADING, "3.2 GB of hf://org/model so far"), (Phase.TOKENISING, "")):
            text = PhaseReport(Stage.PREPARE, 1, phase, detail).to_text()
            await asyncio.to_thread(client.set_tag, job["status"]["mlflow"]["runID"], PHASE_TAG, text)
            found = await user.until("hr-bot", lambda status, phase=phase: status.get("reason") == phase.value)
            assert detail in found["status"]["message"]
