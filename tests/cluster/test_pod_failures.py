"""What becomes of a training whose pods crash, run out of memory or are deleted, on real nodes."""

from __future__ import annotations

from typing import Any

import pytest

from demo.shell import Shell
from support.cluster_jobs import TWO_PODS, ClusterJobs, ClusterMlflow, spec

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

# the other pod only ends because the Job controller ends it, and reports that it was stopped
ONE_POD_CRASHES = """
import os, sys, time
time.sleep(1 if os.environ["JOB_COMPLETION_INDEX"] == "1" else 600)
sys.exit(3)
"""
STEPS = 400
EATS_MEMORY = "import time; eaten = bytearray(512 * 2**20); time.sleep(600)"
FEW_MEMORY = {"stages": ["Train"], "resources": {"limits": {"memory": "256Mi"}, "requests": {"memory": "256Mi"}}}


def own(program: str, **changes: Any) -> dict[str, Any]:
    """A training by a program of the user's own, tried once."""
    return spec(trainer={"command": ["python3", "-c", program]}, runPolicy={"maxRestarts": 0}, **changes)


def test_the_pod_that_crashed_is_named_and_not_those_that_were_ended_after_it(prepared: ClusterJobs) -> None:
    prepared.apply("crash", own(ONE_POD_CRASHES, compute=TWO_PODS))
    failure = prepared.end_status("crash", 180)["failure"]

    assert failure["code"] == "InternalError"
    assert "exit code 3" in failure["message"]
    assert "crash-" in failure["evidence"]
    assert "-train-1-1-" in failure["evidence"]


def test_a_process_that_the_kernel_killed_for_memory_is_told_as_such(prepared: ClusterJobs) -> None:
    prepared.apply("memory", own(EATS_MEMORY, podOverrides=[FEW_MEMORY]))
    failure = prepared.end_status("memory", 180)["failure"]

    assert failure["code"] == "HostOutOfMemory"


def test_a_training_whose_pod_is_deleted_goes_on_at_the_step_where_it_was(
    shell: Shell, prepared: ClusterJobs, mlflow: ClusterMlflow
) -> None:
    status = _delete_a_pod(shell, prepared, "deleted")

    assert status["checkpoints"]["resumedFromStep"] >= 1
    assert (status["usage"]["restarts"], status["usage"]["preemptions"]) == (0, 1)
    steps = mlflow.steps(status["mlflow"]["runID"], "train/loss")
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS


def test_a_training_whose_pod_vanishes_is_made_again(
    shell: Shell, prepared: ClusterJobs, mlflow: ClusterMlflow
) -> None:
    status = _delete_a_pod(shell, prepared, "vanished", "--grace-period=0", "--force")

    assert status["usage"]["restarts"] + status["usage"]["preemptions"] == 1
    assert mlflow.steps(status["mlflow"]["runID"], "train/loss")[-1] == STEPS


def _delete_a_pod(shell: Shell, jobs: ClusterJobs, name: str, *how: str) -> dict[str, Any]:
    """Delete a pod in the middle of a training; the status of the job that succeeded after all."""
    jobs.apply(name, spec(compute=TWO_PODS, training={"maxSteps": STEPS}))
    jobs.until_first_step(name, 120)
    pods = jobs.list("pods", f"vernacular.dev/job-name={name},vernacular.dev/stage=train")
    shell.kubectl("delete", "pod", pods[0]["metadata"]["name"], "-n", jobs.namespace, *how, "--wait=false")
    status = jobs.end_status(name, 300)
    assert status["state"] == "Succeeded", status.get("failure")
    return status
