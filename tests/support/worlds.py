"""Snapshots for tests of decisions: a job, its Jobs and pods, and a step from one status to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from support.simulated_kubelet import SUMMARIES, TOTAL_STEPS
from vernacular.api import FineTuneJob, FineTuneJobStatus, FineTuneRuntime, Stage
from vernacular.api.names import child_name
from vernacular_operator.config import OperatorConfig, parse_config
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import JobFacts, PodFacts, RunOpened, Snapshot, Terminated
from vernacular_trainer.contract import JobConfig, Outcome, StageReport, TrainSummary, summary_to_dict
from vernacular_trainer.contract import Stage as ContractStage

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "0a1b2c3d-0000-4000-8000-000000000000"
RUN = RunOpened("7", "run-1")


def config(**changes: Any) -> OperatorConfig:
    """The operator's configuration with changed top-level fields."""
    document = {
        "images": {"data": "example.org/data:1", "trainer": "example.org/trainer:1"},
        "mlflow": {"trackingUri": "http://mlflow:5000"},
    }
    return parse_config(document | changes)


def fine_tune_job(status: FineTuneJobStatus | None = None, *, name: str = "hr-bot", **spec: Any) -> FineTuneJob:
    """A job in namespace demo; `spec` replaces fields of a small one."""
    document = {
        "metadata": {
            "name": name,
            "namespace": "demo",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T11:59:50Z",
        },
        "spec": {
            "model": {"uri": "pvc://models/tiny"},
            "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
            "compute": {"gpusPerPod": 0},
            **spec,
        },
    }
    job = FineTuneJob.model_validate(document)
    return job.model_copy(update={"status": status}) if status else job


def fine_tune_runtime(name: str = "h100", *, generation: int = 1, **spec: Any) -> FineTuneRuntime:
    """A runtime of the platform team; `spec` is all it says."""
    return FineTuneRuntime.model_validate({"metadata": {"name": name, "generation": generation}, "spec": spec})


def world(job: FineTuneJob | None = None, **changes: Any) -> Snapshot:
    """A snapshot whose MLflow run is open."""
    values: dict[str, Any] = {"job": job or fine_tune_job(), "config": config(), "cluster": "cluster-1", "run": RUN}
    return Snapshot(**(values | changes))


def with_status(snapshot: Snapshot, plan: Plan, **changes: Any) -> Snapshot:
    """The snapshot after the plan's status was written; `changes` are what happened since."""
    return replace(snapshot, job=snapshot.job.model_copy(update={"status": plan.status}), **changes)


def child(stage: Stage, attempt: int = 1, **changes: Any) -> JobFacts:
    """A Job of a stage, running unless changed."""
    name = child_name("hr-bot", UID, stage, attempt)
    return replace(JobFacts(name=name, uid=f"job-{stage}-{attempt}", stage=stage, attempt=attempt), **changes)


def pod(stage: Stage, attempt: int = 1, index: int = 0, **changes: Any) -> PodFacts:
    """A running pod unless changed."""
    name = f"{child_name('hr-bot', UID, stage, attempt)}-{index}"
    uid = f"pod-{stage}-{attempt}-{index}"
    base = PodFacts(
        name=name, uid=uid, stage=stage, attempt=attempt, index=index, phase="Running", running=True, node="n1"
    )
    return replace(base, **changes)


def ended(
    stage: Stage, attempt: int = 1, index: int = 0, *, exit_code: int = 0, report: StageReport | None = None,
    after: float = 0, reason: str = "Error", **changes: Any,
) -> PodFacts:  # fmt: skip
    """A pod whose container ended `after` seconds past NOW."""
    end = Terminated(exit_code, reason, report.to_json() if report else "", NOW + timedelta(seconds=after))
    phase = "Succeeded" if exit_code == 0 else "Failed"
    return pod(stage, attempt, index, **({"phase": phase, "running": False, "terminated": end} | changes))


def done_report(stage: Stage, document: Mapping[str, Any]) -> StageReport:
    """The report of a stage that went well. `document` is the manifest of its Job."""
    annotations = document["spec"]["template"]["metadata"]["annotations"]
    job_config = JobConfig.from_json(annotations["vernacular.dev/job"])
    summary = SUMMARIES[ContractStage(stage.value)](job_config)
    return StageReport(Outcome.DONE, summary=summary_to_dict(summary))


def preempted_report(step: int) -> StageReport:
    """What training reports after SIGTERM with a checkpoint at this step."""
    summary = TrainSummary(step=step, total_steps=TOTAL_STEPS, checkpoint_step=step, complete_checkpoints=1)
    return StageReport(Outcome.PREEMPTED, summary=summary_to_dict(summary))


def job_manifest(plan: Plan) -> Mapping[str, Any]:
    """The only Job that the plan creates."""
    (found,) = [item for item in plan.create if item["kind"] == "Job"]
    return found


def until_stage(stage: Stage, snapshot: Snapshot | None = None) -> Snapshot:
    """A snapshot whose earlier stages have succeeded and whose given stage has just been created."""
    snapshot = snapshot or world()
    plan = reconcile(snapshot, NOW)
    while True:
        manifest = job_manifest(plan)
        current = Stage(manifest["metadata"]["labels"]["vernacular.dev/stage"].capitalize())
        running = child(current)
        snapshot = with_status(snapshot, plan, jobs=(*snapshot.jobs, running))
        if current == stage:
            return snapshot
        finished = replace(running, complete=True, finished_at=NOW)
        pods = tuple(
            ended(current, index=index, report=done_report(current, manifest))
            for index in range(manifest["spec"]["completions"])
        )
        snapshot = replace(snapshot, jobs=(*snapshot.jobs[:-1], finished), pods=(*snapshot.pods, *pods))
        plan = reconcile(snapshot, NOW)
