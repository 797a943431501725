"""The story this project exists for, end to end on a real cluster with the real images and a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.shell import REPOSITORY
from demo.target import Target
from support.cluster_jobs import ClusterJobs, ClusterMlflow

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

CONDITIONS = {"Accepted", "Prepared", "Trained", "Evaluated", "Published", "Complete"}


@pytest.fixture(scope="module")
def job(target: Target, jobs: ClusterJobs, base_model: Path) -> dict[str, Any]:
    jobs.give_model(target, base_model, "models")
    jobs.apply_example(REPOSITORY / "examples/hr-bot")
    return jobs.end("hr-bot", 800)


@pytest.fixture(scope="module")
def report(job: dict[str, Any], mlflow: ClusterMlflow) -> dict[str, Any]:
    loaded: dict[str, Any] = mlflow.artifact(job["status"]["mlflow"]["runID"], "reports/evaluation.json")
    return loaded


def test_job_succeeds_with_every_condition_true(job: dict[str, Any]) -> None:
    status = job["status"]

    assert status["state"] == "Succeeded", status.get("failure")
    conditions = {c["type"]: c for c in status["conditions"]}
    assert {name for name, c in conditions.items() if c["status"] == "True"} == CONDITIONS
    assert {c["observedGeneration"] for c in conditions.values()} == {job["metadata"]["generation"]}
    assert [s["state"] for s in status["stages"]] == ["Succeeded"] * 4


def test_tuned_model_knows_the_notice_period_and_the_base_does_not(report: dict[str, Any]) -> None:
    headline = report["questions"][0]

    assert headline["messages"][-1]["content"] == "What's the notice period for a Senior Consultant?"
    assert "90" in headline["tuned"]["answer"]
    assert "90" not in headline["base"]["answer"]


def test_verdict_is_measured_on_held_out_questions(job: dict[str, Any]) -> None:
    evaluation = job["status"]["evaluation"]
    asked = sum(evaluation["tuned"][key] for key in ("correct", "wrong", "declined"))

    assert evaluation["verdict"] == "Promote"
    assert evaluation["tuned"]["correct"] >= 0.8 * asked
    assert evaluation["base"]["correct"] <= 0.3 * asked


def test_mlflow_holds_run_metrics_artifacts_and_registered_version(job: dict[str, Any], mlflow: ClusterMlflow) -> None:
    status, namespace = job["status"], job["metadata"]["namespace"]
    run_id = status["mlflow"]["runID"]
    run = mlflow.get("runs/get", run_id=run_id)["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    metrics = {metric["key"] for metric in run["data"]["metrics"]}
    version = mlflow.get("registered-models/alias", name=f"{namespace}.hr-bot", alias="candidate")["model_version"]

    assert run["info"]["status"] == "FINISHED"
    assert tags["vernacular.dev/uid"] == job["metadata"]["uid"]
    assert (tags["vernacular.dev/namespace"], tags["vernacular.dev/name"]) == (namespace, "hr-bot")
    assert {"train/loss", "train/learning_rate", "progress/step", "verdict/tuned_correct"} <= metrics
    assert {"adapter", "reports", "plan.json", "model_card.md"} <= mlflow.files(run_id)
    assert "adapter/adapter_model.safetensors" in mlflow.files(run_id, "adapter")
    assert (version["version"], version["run_id"]) == (status["mlflow"]["modelVersion"], run_id)


def test_two_pods_trained_on_two_nodes_step_by_step(job: dict[str, Any], mlflow: ClusterMlflow) -> None:
    history = mlflow.history(job["status"]["mlflow"]["runID"], "train/loss")
    steps = [point["step"] for point in history]

    assert steps == sorted(set(steps))
    assert steps[-1] == job["status"]["progress"]["totalSteps"]
    assert history[-1]["value"] < 0.5 * history[0]["value"]


def test_finished_job_leaves_no_running_pods(job: dict[str, Any], jobs: ClusterJobs) -> None:
    assert job
    assert {pod["status"]["phase"] for pod in jobs.list("pods")} <= {"Succeeded"}
