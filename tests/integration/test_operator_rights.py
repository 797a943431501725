"""The operator's rights are the ones it needs: each is used, nothing more is asked for, and what is missing is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from support.apiserver import MERGE_PATCH, ApiServer
from support.audit import Access, audit_of, granted
from support.embedded_operator import User, eventually, operator_config, running_operator
from support.mlflow_server import MlflowServer
from support.service_accounts import OPERATOR, operator_account
from support.simulated_kubelet import Behaviour, SimulatedKubelet, hold_until_stopped, succeed
from vernacular_operator.kube.rights import IN_NAMESPACES, IN_THE_CLUSTER
from vernacular_trainer.contract import JOB_ANNOTATION, JobConfig, Stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# asked for by an admission plugin of the API server when a child names its owner, never by a request
IMPLIED = Access("vernacular.dev", "finetunejobs/finalizers", "update")
NO_NODE = 99
SHARED = {"workspace": {"claimName": "shared"}}


@pytest.mark.parametrize("everywhere", [False, True], ids=["namespaced", "cluster"])
async def test_every_right_is_used_and_no_other_is_asked_for(
    api_server_with_controllers: ApiServer,
    mlflow_server: MlflowServer,
    kubelet: SimulatedKubelet,
    user: User,
    everywhere: bool,
) -> None:
    server, home = api_server_with_controllers, "default" if everywhere else user.namespace
    config = operator_config(mlflow_server.uri, user.namespace, **({"watchNamespaces": []} if everywhere else {}))
    kubelet.script = train_until_stopped
    await user.request("POST", f"/api/v1/namespaces/{user.namespace}/persistentvolumeclaims", shared_claim())
    one = await user.create("one", compute={"pods": 2, "gpusPerPod": 0}, storage=SHARED)
    await user.request("POST", f"/api/v1/namespaces/{user.namespace}/services", service_made_before_a_crash(one))
    await user.create("two")
    await user.create("three")
    await user.create("unbound")
    await user.create("brief", runPolicy={"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0})

    async with running_operator(server, config):
        for name in ("one", "two", "three"):
            await user.until_state(name, "Training")
        await user.until("unbound", lambda status: status.get("reason") == "VolumeNotBound")
        await user.suspend("one", True)
        await user.until_state("one", "Suspended")
        await user.request("DELETE", f"/apis/batch/v1/namespaces/{user.namespace}/jobs/{await job_of(user, 'two')}")
        await user.until("two", lambda status: status.get("usage", {}).get("preemptions", 0) > 0)
    lost = await user.get("three")
    await user.request("DELETE", user.path("three"))

    async with running_operator(server, config):
        await eventually(lambda: run_is_closed(mlflow_server, lost))
        await lose_a_pod(server, user, "two", home)

    audit = audit_of(server, OPERATOR, home)
    rights = granted(*IN_NAMESPACES, *(IN_THE_CLUSTER if everywhere else ())) - {IMPLIED}
    assert audit.used == rights
    assert audit.refused == ()


async def test_without_the_right_to_block_an_owners_deletion_the_status_says_so(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, user: User, tmp_path: Path
) -> None:
    """As on clusters with the admission plugin OwnerReferencesPermissionEnforcement."""
    server = api_server_with_controllers
    async with running_operator(server, operator_config(mlflow_server.uri, user.namespace)):
        role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{user.namespace}/roles/{OPERATOR}"
        rules = [right.rule for right in IN_NAMESPACES if not right.resource.endswith("/finalizers")]
        await user.request("PATCH", role, {"rules": rules}, MERGE_PATCH)

        async def revoked() -> bool:
            return not await may_block(user)

        await eventually(revoked)
        await user.create("hr-bot")
        job = await user.until("hr-bot", lambda status: status.get("reason") == "CreationRefused")
        assert "blockOwnerDeletion" in job["status"]["message"]

        await asyncio.to_thread(operator_account, server, [user.namespace], tmp_path)
        await user.until_state("hr-bot", "Preparing")


def shared_claim() -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": "shared"}, "spec": spec}


def service_made_before_a_crash(job: dict[str, Any]) -> dict[str, Any]:
    """What an operator leaves behind that ends between creating a child and noting it."""
    metadata = job["metadata"]
    owner = {
        "apiVersion": job["apiVersion"], "kind": job["kind"], "name": metadata["name"], "uid": metadata["uid"],
        "controller": True,
    }  # fmt: skip
    name = f"{metadata['name']}-{metadata['uid'][:5]}-train-1"
    return {"metadata": {"name": name, "ownerReferences": [owner]}, "spec": {"clusterIP": "None"}}


async def job_of(user: User, name: str) -> str:
    """Name of the Job that runs the training of a FineTuneJob."""
    stages = (await user.get(name))["status"]["stages"]
    return str(next(stage["jobName"] for stage in stages if stage["name"] == "Train"))


async def run_is_closed(server: MlflowServer, job: dict[str, Any]) -> bool:
    run = await asyncio.to_thread(MlflowClient(server.uri).get_run, job["status"]["mlflow"]["runID"])
    return bool(run.info.status == "KILLED")


async def lose_a_pod(server: ApiServer, user: User, name: str, home: str) -> None:
    """A pod that does not go away when it is deleted, until the operator removes it, whose namespace is `home`."""
    pods = f"/api/v1/namespaces/{user.namespace}/pods"
    template = next(job for job in await user.jobs() if job["metadata"]["name"].startswith(name))["spec"]["template"]
    config = JobConfig.from_json(template["metadata"]["annotations"][JOB_ANNOTATION])
    metadata = {
        "name": "lost",
        "labels": {key: value for key, value in template["metadata"]["labels"].items() if "batch" not in key},
        "annotations": {JOB_ANNOTATION: replace(config, attempt=NO_NODE).to_json()},
        "finalizers": ["tests.example/node-is-away"],
    }
    node = f"lost-{user.namespace}"
    await user.request("POST", "/api/v1/nodes", {"metadata": {"name": node}})
    (container,), security = template["spec"]["containers"], template["spec"]["securityContext"]
    container = {key: container[key] for key in ("name", "image", "securityContext")}
    spec = {"nodeName": node, "securityContext": security, "containers": [container]}
    await user.request("POST", pods, {"metadata": metadata, "spec": spec})
    await user.request("DELETE", f"{pods}/lost", {"gracePeriodSeconds": 1})

    async def removed() -> bool:
        return Access("", "pods", "delete") in (await asyncio.to_thread(audit_of, server, OPERATOR, home)).used

    try:
        await eventually(removed)
    finally:
        await user.request("PATCH", f"{pods}/lost", {"metadata": {"finalizers": None}}, MERGE_PATCH)
        await user.request("DELETE", f"/api/v1/nodes/{node}")


def train_until_stopped(config: JobConfig) -> Behaviour:
    if config.attempt == NO_NODE:
        return Behaviour(None, 0, stuck="no node is free")
    if config.identity.name == "unbound":
        return Behaviour(None, 0, stuck="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    return hold_until_stopped(3) if config.stage == Stage.TRAIN else succeed(config)


async def may_block(user: User) -> bool:
    attributes = {
        "group": "vernacular.dev", "resource": "finetunejobs", "subresource": "finalizers", "verb": "update",
        "namespace": user.namespace,
    }  # fmt: skip
    account = f"system:serviceaccount:{user.namespace}:{OPERATOR}"
    review = {"spec": {"user": account, "resourceAttributes": attributes}}
    answer = await user.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
