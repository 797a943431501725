"""helm upgrade, rollback and uninstall while jobs run: the operator comes and goes, what runs goes on untouched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import apiserver
from support.apiserver import RESTRICTED, ApiError, ApiServer
from support.audit import Access, audit_of
from support.deployed_operator import operator, wait
from support.fake_mlflow import FakeMlflow
from support.finetunejobs import both, finetunejob
from support.helm import CHART, Helm
from support.operator_process import OperatorProcess
from support.simulated_kubelet import Behaviour, SimulatedKubelet, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SYSTEM, TEAM = "vernacular", "team"
JOB = f"/apis/vernacular.dev/v1alpha1/namespaces/{TEAM}/finetunejobs/hr-bot"
STAGES = f"/apis/batch/v1/namespaces/{TEAM}/jobs"
PODS = f"/api/v1/namespaces/{TEAM}/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NEWER = {
    "images": {"data": "example.org/data:2", "trainer": "example.org/trainer:2", "pullSecrets": ["regcred"]},
    "config": {
        "resources": {"train": {"requests": {"memory": "8Gi"}}},
        "runAsUser": 1234,
        "gracePeriodSeconds": 300,
        "storage": {"size": "40Gi"},
    },
}


class Cluster:
    """What a person with helm and kubectl sees of a cluster that never had the chart before."""

    def __init__(self, server: ApiServer, helm: Helm, mlflow: str) -> None:
        self.server = server
        self._helm = helm
        self._target = ("-n", SYSTEM, f"--kubeconfig={server.kubeconfig}")
        self._values = {
            "images": {"data": "example.org/data:1", "trainer": "example.org/trainer:1"},
            "mlflow": {"trackingUri": mlflow},
            "config": {"progressIntervalSeconds": 1, "resyncSeconds": 5},
        }

    def install(self, changes: dict[str, Any] | None = None) -> None:
        """`helm upgrade --install`, as often as one likes."""
        values = both(self._values, changes or {})
        self._helm.run("upgrade", "--install", "vernacular", str(CHART), *self._target, values=values)

    def rollback(self) -> None:
        self._helm.run("rollback", "vernacular", *self._target)

    def uninstall(self) -> None:
        self._helm.run("uninstall", "vernacular", *self._target)

    def get(self, path: str) -> dict[str, Any] | None:
        try:
            return self.server.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def status(self) -> dict[str, Any]:
        return (self.get(JOB) or {}).get("status", {})

    def running(self) -> dict[str, Any]:
        """What must not change: specs and identities of the stage Jobs, and their pods."""
        jobs, pods = self.server.request("GET", STAGES)["items"], self.server.request("GET", PODS)["items"]
        return {item["metadata"]["name"]: (item["metadata"]["uid"], item["spec"]) for item in jobs} | {
            item["metadata"]["uid"]: (item["spec"], item["metadata"].get("deletionTimestamp")) for item in pods
        }

    def image_of(self, stage: str) -> str:
        jobs = self.server.request("GET", f"{STAGES}?labelSelector=vernacular.dev/stage={stage}")["items"]
        (found,) = {job["spec"]["template"]["spec"]["containers"][0]["image"] for job in jobs}
        return str(found)


@pytest.fixture
def cluster(helm: Helm) -> Iterator[Cluster]:
    """A server of the test's own: it has the CRDs that helm brings, and loses them with the chart."""
    with apiserver.running(f"pytest-{os.getpid()}-upgrade", with_controllers=True) as server, FakeMlflow() as mlflow:
        for name, labels in ((SYSTEM, {}), (TEAM, RESTRICTED)):
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        yield Cluster(server, helm, mlflow.uri)


@pytest.fixture
def kubelet(cluster: Cluster) -> Iterator[SimulatedKubelet]:
    """Training goes on until it is released."""

    def script(config: JobConfig) -> Behaviour:
        return Behaviour(None, 0, hold=True) if config.stage == Stage.TRAIN else succeed(config)

    with SimulatedKubelet(cluster.server, TEAM, script) as simulated:
        yield simulated
    assert not simulated.errors


@contextmanager
def deployed(cluster: Cluster, folder: Path) -> Iterator[OperatorProcess]:
    """The operator as its Deployment says now."""
    with operator(cluster.server, SYSTEM, folder) as process:
        yield process


def train(cluster: Cluster, process: OperatorProcess) -> dict[str, Any]:
    """Create the job and wait for its training; returns what runs then."""
    patch = {"compute": {"gpusPerPod": 0}}
    cluster.server.request("POST", JOB.rpartition("/")[0], finetunejob(patch=patch))
    wait("no training", lambda: cluster.status().get("state") == "Training", process.log)
    return cluster.running()


def looked_at(cluster: Cluster, process: OperatorProcess) -> None:
    """Wait until this operator has decided something about the job: it follows a change of the run policy."""
    before = cluster.status().get("observedGeneration", 0)
    restarts = {"spec": {"runPolicy": {"maxRestarts": 10 + before}}}
    cluster.server.request("PATCH", JOB, restarts, apiserver.MERGE_PATCH)
    wait("not looked at", lambda: cluster.status().get("observedGeneration", 0) > before, process.log)


def finish(cluster: Cluster, kubelet: SimulatedKubelet, process: OperatorProcess) -> None:
    kubelet.script = succeed
    kubelet.release()
    wait("not succeeded", lambda: cluster.status().get("state") == "Succeeded", process.log, 120)
    assert {stage["attempt"] for stage in cluster.status()["stages"]} == {1}
    assert cluster.status().get("usage", {}).get("restarts", 0) == 0


def test_upgrade_and_rollback_leave_a_training_alone_and_it_ends_well(
    cluster: Cluster, kubelet: SimulatedKubelet, tmp_path: Path
) -> None:
    cluster.install()
    with deployed(cluster, tmp_path) as process:
        before = train(cluster, process)

    cluster.install(NEWER)
    with deployed(cluster, tmp_path) as process:
        looked_at(cluster, process)
        assert cluster.running() == before

    cluster.rollback()
    with deployed(cluster, tmp_path) as process:
        looked_at(cluster, process)
        assert cluster.running() == before

    cluster.install(NEWER)
    with deployed(cluster, tmp_path) as process:
        finish(cluster, kubelet, process)

    after = cluster.running()
    assert {name: after[name][0] for name in before if name in after} == {name: before[name][0] for name in before}
    assert [cluster.image_of(stage) for stage in ("prepare", "train", "evaluate", "publish")] == [
        "example.org/data:1", "example.org/trainer:1", "example.org/trainer:2", "example.org/data:2",
    ]  # fmt: skip
    audit = audit_of(cluster.server, "vernacular", SYSTEM)
    assert audit.refused == ()
    assert not {Access("batch", "jobs", verb) for verb in ("update", "patch", "delete")} & audit.used


def test_a_job_ends_well_though_the_chart_was_away_meanwhile(
    cluster: Cluster, kubelet: SimulatedKubelet, tmp_path: Path
) -> None:
    cluster.install()
    with deployed(cluster, tmp_path) as process:
        before = train(cluster, process)
        uid = cluster.server.request("GET", JOB)["metadata"]["uid"]

    cluster.uninstall()
    assert cluster.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/vernacular") is None
    assert cluster.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/vernacular") is None
    assert cluster.server.request("GET", JOB)["metadata"]["uid"] == uid
    assert cluster.running() == before
    kubelet.release()
    wait("the training did not end by itself", lambda: all_complete(cluster), process.log)

    cluster.install(NEWER)
    with deployed(cluster, tmp_path) as process:
        finish(cluster, kubelet, process)
    assert cluster.server.request("GET", JOB)["metadata"]["uid"] == uid


def all_complete(cluster: Cluster) -> bool:
    return all(item["status"].get("succeeded") for item in cluster.server.request("GET", STAGES)["items"])


def test_only_who_says_so_loses_the_jobs_with_the_chart(
    cluster: Cluster, kubelet: SimulatedKubelet, tmp_path: Path
) -> None:
    cluster.install({"crds": {"keep": False}})
    with deployed(cluster, tmp_path) as process:
        train(cluster, process)
    wait_for_collector(cluster, process.log)

    cluster.uninstall()

    name = f"{CRDS}/finetunejobs.vernacular.dev"
    wait("the CRD is still there", lambda: cluster.get(name) is None, process.log)
    wait("children are still there", lambda: not cluster.running(), process.log)


def wait_for_collector(cluster: Cluster, log: Path) -> None:
    """Wait until the garbage collector, which looks for new kinds every 30 seconds, watches this one: nobody else ends
    a deletion in the foreground.
    """
    folder = JOB.rpartition("/")[0]
    cluster.server.request("POST", folder, finetunejob("canary"))
    cluster.server.request("DELETE", f"{folder}/canary", {"propagationPolicy": "Foreground"})
    wait("the garbage collector does not watch", lambda: cluster.get(f"{folder}/canary") is None, log)
