"""Small jobs on real pods: strategies over two pods, jobs at once, suspend and resume, MLflow and GPUs away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from demo.shell import Shell
from support.cluster_jobs import TWO_PODS, ClusterJobs, ClusterMlflow, mlflow_away, spec

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def test_two_jobs_at_once_with_other_methods_and_strategies(prepared: ClusterJobs) -> None:
    prepared.apply("lora-ddp", spec(compute={**TWO_PODS, "strategy": "DDP"}))
    prepared.apply("full-zero3", spec(compute={**TWO_PODS, "strategy": "ZeRO3"}, method={"type": "Full"}))

    for name in ("lora-ddp", "full-zero3"):
        status = prepared.end_status(name, 300)
        assert status["state"] == "Succeeded", status.get("failure")


def test_suspended_training_saves_and_continues_at_its_step(prepared: ClusterJobs, mlflow: ClusterMlflow) -> None:
    prepared.apply("pause", spec(training={"maxSteps": 800}))
    prepared.until_first_step("pause", 120)
    prepared.suspend("pause", True)
    prepared.until_is("pause", 90, state="Suspended")
    pods = prepared.list("pods", "vernacular.dev/job-name=pause")

    assert [p["metadata"]["name"] for p in pods if p["status"]["phase"] in ("Pending", "Running")] == []

    prepared.suspend("pause", False)
    status = prepared.end_status("pause", 240)
    steps = mlflow.steps(status["mlflow"]["runID"], "train/loss")

    assert status["state"] == "Succeeded", status.get("failure")
    assert status["checkpoints"]["resumedFromStep"] >= 1
    assert steps == sorted(set(steps))


def test_training_goes_on_while_mlflow_is_away_and_nothing_is_lost(
    shell: Shell, prepared: ClusterJobs, mlflow: ClusterMlflow
) -> None:
    prepared.apply("outage", spec(training={"maxSteps": 150}))
    prepared.until_is("outage", 120, state="Training")
    with mlflow_away(shell):
        prepared.until_is("outage", 180, state="Publishing")
    status = prepared.end_status("outage", 240)

    assert status["state"] == "Succeeded", status.get("failure")
    assert mlflow.steps(status["mlflow"]["runID"], "train/loss") == list(range(1, 151))


def test_job_waits_and_says_so_when_mlflow_is_away_at_the_start(shell: Shell, prepared: ClusterJobs) -> None:
    with mlflow_away(shell):
        prepared.apply("early", spec())
        status = prepared.until_is("early", 120, reason="TrackingUnavailable")

    assert "MLflow" in status["message"]
    assert prepared.end_status("early", 300)["state"] == "Succeeded"


@pytest.fixture
def promised_gpus(shell: Shell) -> Iterator[None]:
    """Nodes that promise two GPUs each, as a misconfigured device plugin does: none is visible in a pod."""
    path = "/status/capacity/nvidia.com~1gpu"
    for node in ("node-1", "node-2"):
        patch = json.dumps([{"op": "add", "path": path, "value": "2"}])
        shell.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)
    yield
    for node in ("node-1", "node-2"):
        patch = json.dumps([{"op": "remove", "path": path}])
        shell.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)


def test_fewer_visible_devices_than_asked_for_is_a_world_size_mismatch(
    prepared: ClusterJobs, promised_gpus: None
) -> None:
    prepared.apply("gpus", spec(compute={"pods": 1, "gpusPerPod": 2}))
    status = prepared.end_status("gpus", 180)

    assert (status["state"], status["failure"]["code"]) == ("Failed", "WorldSizeMismatch")
    assert status["usage"]["restarts"] == 0
