"""FineTuneRuntimes on a real API server, with an operator that looks after the whole cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.apiserver import MERGE_PATCH, ApiServer
from support.embedded_operator import User, condition, operator_config, running_operator, stage
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import Behaviour, SimulatedKubelet, hold_until_stopped, succeed
from vernacular_operator.config import OperatorConfig
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = pytest.mark.integration

RUNTIMES = "/apis/vernacular.dev/v1alpha1/finetuneruntimes"


@pytest.fixture
async def runtimes(user: User) -> AsyncIterator[User]:
    """Nothing of the cluster's own is left behind."""
    yield user
    for item in (await user.request("GET", RUNTIMES))["items"]:
        await user.request("DELETE", f"{RUNTIMES}/{item['metadata']['name']}")


async def create_runtime(user: User, name: str, *, default: bool = False, **spec: Any) -> None:
    metadata = {"name": name, "annotations": {"vernacular.dev/default": "true"} if default else {}}
    body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneRuntime", "metadata": metadata, "spec": spec}
    await user.request("POST", RUNTIMES, body)


def for_the_cluster(mlflow_server: MlflowServer, user: User) -> OperatorConfig:
    return operator_config(mlflow_server.uri, user.namespace, watchNamespaces=[])


async def train_pods(user: User, name: str) -> list[dict[str, Any]]:
    jobs = [item for item in await user.jobs() if item["metadata"]["name"].startswith(f"{name}-")]
    return [item["spec"]["template"]["spec"] for item in jobs if "-train-" in item["metadata"]["name"]]


async def test_a_job_waits_for_its_runtime_and_an_edit_or_restart_changes_nothing(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, runtimes: User
) -> None:
    user = runtimes

    def script(config: JobConfig) -> Behaviour:
        if config.stage != Stage.TRAIN:
            return succeed(config)
        return hold_until_stopped(5) if config.attempt == 1 else Behaviour(None, 0)

    kubelet.script = script
    config = for_the_cluster(mlflow_server, user)
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot", runtimeRef={"name": "h100"})
        job = await user.until("hr-bot", lambda status: status.get("reason") == "WaitingForRuntime")
        assert condition(job, "Accepted") == "False"
        assert await user.jobs() == []

        await create_runtime(
            user,
            "h100",
            images={"trainer": "example.org/trainer:h100"},
            podOverrides=[{"stages": ["Train"], "priorityClassName": "system-node-critical"}],
        )
        job = await user.until_state("hr-bot", "Training")
        assert job["status"]["runtime"]["name"] == "h100"
        assert job["status"]["runtime"]["generation"] == 1
        edit = {"spec": {"images": {"trainer": "example.org/other:1"}, "podOverrides": None}}
        edited = await user.request("PATCH", f"{RUNTIMES}/h100", edit, MERGE_PATCH)
        assert edited["metadata"]["generation"] == 2
        await user.suspend("hr-bot", True)
        await user.until_state("hr-bot", "Suspended")

    async with running_operator(api_server_with_controllers, config):
        await user.suspend("hr-bot", False)
        job = await user.until_state("hr-bot", "Succeeded")
        assert stage(job, "Train")["attempt"] == 2
        (second,) = await train_pods(user, "hr-bot")
        assert second["containers"][0]["image"] == "example.org/trainer:h100"
        assert second["priorityClassName"] == "system-node-critical"
        assert job["status"]["runtime"]["generation"] == 1


async def test_the_default_runtime_and_its_limits(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, runtimes: User
) -> None:
    user = runtimes
    await create_runtime(user, "small", default=True, limits={"maxGpus": 2}, storage={"workspace": {"size": "7Gi"}})
    async with running_operator(api_server_with_controllers, for_the_cluster(mlflow_server, user)):
        await user.create("fits")
        await user.create("too-large", compute={"gpusPerPod": 4})
        refused = await user.until_state("too-large", "Failed")
        assert refused["status"]["failure"]["code"] == "LimitExceeded"
        assert "4 GPUs (1 pods x 4), the FineTuneRuntime small allows 2" in refused["status"]["message"]
        job = await user.until_state("fits", "Succeeded")
        assert job["status"]["runtime"]["name"] == "small"
        claims = await user.request("GET", f"/api/v1/namespaces/{user.namespace}/persistentvolumeclaims")
        sizes = [item["spec"]["resources"]["requests"]["storage"] for item in claims["items"]]
        assert sizes == ["7Gi"]


async def test_an_operator_of_one_namespace_needs_no_runtimes(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, runtimes: User
) -> None:
    user = runtimes
    await create_runtime(user, "default", default=True, images={"data": "example.org/never:1"})
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("without")
        await user.create("with", runtimeRef={"name": "default"})
        assert "runtime" not in (await user.until_state("without", "Succeeded"))["status"]
        job = await user.until("with", lambda status: status.get("reason") == "WaitingForRuntime")
        assert "installed for single namespaces" in job["status"]["message"]


async def test_a_volume_that_cannot_be_made_is_explained_by_its_provisioner(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    kubelet.script = lambda _: Behaviour(None, 0, stuck="0/1 nodes are available: pod has unbound immediate Persistent"
                                         "VolumeClaims.")  # fmt: skip
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot", storage={"workspace": {"storageClassName": "nowhere"}})
        job = await user.until("hr-bot", lambda status: "not found" in status.get("message", ""))

        assert job["status"]["reason"] == "VolumeNotBound"
        assert 'storageclass.storage.k8s.io "nowhere" not found' in job["status"]["message"]
        assert "-workspace: " in job["status"]["message"]
