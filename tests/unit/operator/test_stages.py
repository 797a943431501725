"""Stages one after the other, each with its results in the status before the next one starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.simulated_kubelet import SUMMARIES
from support.worlds import (
    NOW,
    RUN,
    child,
    done_report,
    ended,
    fine_tune_job,
    job_manifest,
    pod,
    until_stage,
    with_status,
    world,
)
from vernacular.api import ConditionStatus, ConditionType, FineTuneJob, JobState, Reason, Stage, StageState
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import Snapshot
from vernacular_trainer.contract import Outcome, StageReport, TrainSummary, summary_to_dict
from vernacular_trainer.contract import Stage as ContractStage


def test_prepare_comes_first_with_its_workspace_and_asks_for_the_run() -> None:
    plan = reconcile(world(run=None), NOW)

    assert [item["kind"] for item in plan.create] == ["PersistentVolumeClaim", "Job"]
    assert plan.status.state == JobState.PREPARING
    assert plan.open_run is not None
    assert plan.open_run.experiment == "demo.hr-bot"
    assert plan.open_run.tags["vernacular.dev/uid"] == plan.open_run.uid


def test_a_claim_of_the_users_is_used_and_never_created() -> None:
    job = fine_tune_job(storage={"workspace": {"claimName": "mine"}})
    plan = reconcile(world(job), NOW)

    assert [item["kind"] for item in plan.create] == ["Job"]


def test_training_on_several_pods_gets_a_service_of_its_own() -> None:
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0}, storage={"workspace": {"accessMode": "ReadWriteMany"}})
    snapshot = until_stage(Stage.PREPARE, world(job))
    manifest = job_manifest(reconcile(world(job), NOW))
    report = done_report(Stage.PREPARE, manifest)
    done = replace(snapshot, jobs=(child(Stage.PREPARE, complete=True),), pods=(ended(Stage.PREPARE, report=report),))
    plan = reconcile(done, NOW)

    assert [item["kind"] for item in plan.create] == ["Service", "Job"]
    assert job_manifest(plan)["spec"]["completions"] == 2
    assert job_manifest(plan)["metadata"]["name"] == plan.create[0]["metadata"]["name"] == "hr-bot-0a1b2-train-1"


def test_results_of_prepare_are_in_the_status_that_starts_training() -> None:
    snapshot = until_stage(Stage.TRAIN)

    status = snapshot.job.status
    assert status.dataset is not None
    assert status.dataset.rows == 100
    assert status.dataset.readiness is not None
    assert status.dataset.readiness.verdict == "MendFirst"
    assert status.dataset.readiness.reasons == ("20 rows contradict another",)
    assert status.plan is not None
    assert status.plan.summary == "LoRA, 40 steps"
    assert status.state == JobState.STARTING
    assert [(item.name, item.state) for item in status.stages] == [
        (Stage.PREPARE, StageState.SUCCEEDED),
        (Stage.TRAIN, StageState.RUNNING),
    ]


def test_the_last_stage_completes_the_job_in_the_same_status() -> None:
    snapshot = until_stage(Stage.PUBLISH)
    attempt = reconcile(replace(snapshot, jobs=snapshot.jobs[:-1], job=_without_publish(snapshot)), NOW)
    report = done_report(Stage.PUBLISH, job_manifest(attempt))
    finished = replace(snapshot.jobs[-1], complete=True, finished_at=NOW)
    done = replace(snapshot, jobs=(*snapshot.jobs[:-1], finished), pods=(ended(Stage.PUBLISH, report=report),))
    plan = reconcile(done, NOW)

    true = {item.type for item in plan.status.conditions if item.status == ConditionStatus.TRUE}
    assert ConditionType.COMPLETE in true
    assert ConditionType.PUBLISHED in true
    assert plan.status.state == JobState.SUCCEEDED
    assert plan.status.mlflow is not None
    assert plan.status.mlflow.model_version == "1"
    assert plan.end_run is not None
    assert (plan.end_run.run_id, plan.end_run.status) == (RUN.run_id, "FINISHED")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (
            TrainSummary(step=30, total_steps=40, result_step=20, stopped_early=True),
            "ended early at step 30 of 40, the result is that of step 20, which had the lowest loss on the rows that"
            " were kept back",
        ),
        (
            TrainSummary(step=30, total_steps=40, result_step=30, stopped_early=True),
            "ended early at step 30 of 40, the result is that of step 30",
        ),
        (
            TrainSummary(step=40, total_steps=40, result_step=20),
            "the result is that of step 20, which had the lowest loss on the rows that were kept back",
        ),
        (TrainSummary(step=40, total_steps=40, result_step=40), None),
    ],
)
def test_the_status_says_which_step_is_the_result(summary: TrainSummary, message: str | None) -> None:
    snapshot = until_stage(Stage.TRAIN)
    report = StageReport(Outcome.DONE, summary=summary_to_dict(summary))
    done = replace(snapshot, jobs=(child(Stage.TRAIN, complete=True),), pods=(ended(Stage.TRAIN, report=report),))

    stages = {item.name: item for item in reconcile(done, NOW).status.stages}

    assert stages[Stage.TRAIN].message == message


def _without_publish(snapshot: Snapshot) -> FineTuneJob:
    status = snapshot.job.status
    stages = tuple(item for item in status.stages if item.name != Stage.PUBLISH)
    return snapshot.job.model_copy(update={"status": status.model_copy(update={"stages": stages})})


@pytest.mark.parametrize(
    ("running", "state", "reason"),
    [
        (0, JobState.STARTING, Reason.WAITING_FOR_POD),
        (1, JobState.STARTING, Reason.WAITING_FOR_PEERS),
        (2, JobState.TRAINING, Reason.RUNNING),
    ],
)
def test_training_is_training_only_when_all_pods_run(running: int, state: JobState, reason: Reason) -> None:
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0}, storage={"workspace": {"accessMode": "ReadWriteMany"}})
    snapshot = until_stage(Stage.TRAIN, world(job))
    pods = tuple(
        pod(Stage.TRAIN, index=index, phase="Running" if index < running else "Pending", running=index < running)
        for index in range(2)
    )
    plan = reconcile(replace(snapshot, pods=pods), NOW)

    assert (plan.status.state, plan.status.reason) == (state, reason)


def test_a_job_without_a_pod_says_where_to_look() -> None:
    plan = reconcile(until_stage(Stage.PREPARE), NOW)

    assert plan.status.reason == Reason.WAITING_FOR_POD
    assert "kubectl describe job hr-bot-0a1b2-prepare-1" in (plan.status.message or "")


def test_a_complete_job_whose_pod_is_gone_still_counts() -> None:
    snapshot = until_stage(Stage.PREPARE)
    done = replace(snapshot, jobs=(child(Stage.PREPARE, complete=True, finished_at=NOW),))
    plan = reconcile(done, NOW)

    assert plan.status.stages[0].state == StageState.SUCCEEDED
    assert plan.status.dataset is None


def test_a_job_that_exists_already_is_carried_on_after_a_crash_before_the_status() -> None:
    snapshot = world(jobs=(child(Stage.PREPARE),), pods=(pod(Stage.PREPARE),))
    plan = reconcile(snapshot, NOW)

    assert plan.create == ()
    assert plan.status.stages[0].job_name == "hr-bot-0a1b2-prepare-1"
    assert plan.status.stages[0].attempt == 1


def test_nothing_is_done_for_a_job_that_is_being_deleted() -> None:
    job = fine_tune_job()
    metadata = job.metadata.model_copy(update={"deletion_timestamp": "2026-03-01T12:00:00Z"})
    plan = reconcile(world(job.model_copy(update={"metadata": metadata})), NOW)

    assert (plan.create, plan.delete, plan.open_run) == ((), (), None)


def test_a_second_plan_on_the_stored_status_changes_nothing() -> None:
    snapshot = replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN),))
    first = reconcile(snapshot, NOW)
    second = reconcile(with_status(snapshot, first), NOW)

    assert second.status == first.status
    assert (second.create, second.delete, second.events) == ((), (), ())


@pytest.mark.parametrize(
    "changes", [{"verdict": "Splendid"}, {"gain_points": {"value": 300, "low": 0, "high": 0}}], ids=["verdict", "gain"]
)
def test_a_report_that_no_status_can_hold_does_not_stop_the_job(changes: dict[str, object]) -> None:
    snapshot = until_stage(Stage.EVALUATE)
    summary = summary_to_dict(SUMMARIES[ContractStage.EVALUATE](None)) | changes  # type: ignore[arg-type]
    pods = (ended(Stage.EVALUATE, report=StageReport(Outcome.DONE, summary=summary)),)
    finished = replace(snapshot.jobs[-1], complete=True, finished_at=NOW)
    plan = reconcile(replace(snapshot, jobs=(*snapshot.jobs[:-1], finished), pods=pods), NOW)

    assert plan.status.evaluation is None
    assert "ReportUnusable" in [event.reason for event in plan.events]
    assert plan.status.state == JobState.PUBLISHING


def published(gate: dict[str, object] | None, **changes: object) -> Plan:
    """The plan for a job whose last stage has ended, with what the evaluation said changed."""
    evaluation = {"evaluation": {"gate": gate}} if gate else {}
    snapshot = until_stage(Stage.EVALUATE, world(fine_tune_job(**evaluation)))
    summary = summary_to_dict(SUMMARIES[ContractStage.EVALUATE](None)) | changes  # type: ignore[arg-type]
    pods = (ended(Stage.EVALUATE, report=StageReport(Outcome.DONE, summary=summary)),)
    done = replace(snapshot.jobs[-1], complete=True, finished_at=NOW)
    snapshot = replace(snapshot, jobs=(*snapshot.jobs[:-1], done), pods=pods)
    plan = reconcile(snapshot, NOW)
    report = done_report(Stage.PUBLISH, job_manifest(plan))
    snapshot = replace(
        with_status(snapshot, plan),
        jobs=(*snapshot.jobs, child(Stage.PUBLISH, complete=True, finished_at=NOW)),
        pods=(ended(Stage.PUBLISH, report=report),),
    )
    return reconcile(snapshot, NOW)


MISSED = ("maxWrongPercent 3: 4 of 78 wrong",)


def test_a_missed_gate_fails_a_job_that_asks_for_it_after_the_evidence_is_published() -> None:
    plan = published({"maxWrongPercent": 3, "onMiss": "FailJob"}, verdict="Hold", gate_missed=MISSED)
    status = plan.status

    assert status.state == JobState.FAILED
    assert status.failure
    assert (status.failure.code, status.failure.stage) == ("GateFailed", Stage.EVALUATE)
    assert status.failure.message == "the gate was missed: maxWrongPercent 3: 4 of 78 wrong"
    assert "collect-next.xlsx" in status.failure.advice
    assert [item.state for item in status.stages] == [StageState.SUCCEEDED] * 4
    assert status.is_true(ConditionType.PUBLISHED)
    assert status.mlflow
    assert status.mlflow.model_version == "1"
    assert plan.end_run
    assert plan.end_run.status == "FAILED"


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ({"maxWrongPercent": 3}, {"verdict": "Hold", "gate_missed": MISSED}),
        ({"maxWrongPercent": 3, "onMiss": "FailJob"}, {}),
        (None, {"verdict": "Hold"}),
    ],
    ids=["holds only", "passed", "no gate"],
)
def test_a_job_that_is_not_asked_to_fail_succeeds(gate: dict[str, object] | None, changes: dict[str, object]) -> None:
    plan = published(gate, **changes)

    assert plan.status.state == JobState.SUCCEEDED
    assert plan.status.evaluation
    assert plan.status.evaluation.gate_missed == changes.get("gate_missed", ())


def test_a_gate_that_fails_jobs_passes_nothing_whose_report_was_lost() -> None:
    plan = published({"minCorrectPercent": 3, "onMiss": "FailJob"}, verdict="Splendid")

    assert plan.status.failure
    assert plan.status.failure.code == "GateFailed"
    assert "lost" in plan.status.failure.message


def test_everything_that_the_evaluation_found_is_in_the_status() -> None:
    prompted = {"asked": 10, "counts": {"correct": 6, "wrong": 3, "declined": 1, "invented": 1}}
    prompted |= {"tuned_correct": 9, "tokens_per_request": 400}
    plan = published(None, prompted=prompted, general_regression_percent=2, weak_topics=("leave",))

    evaluation = plan.status.evaluation
    assert evaluation
    assert evaluation.prompted
    assert evaluation.prompted.model_dump() == {
        "correct": 6,
        "wrong": 3,
        "declined": 1,
        "invented": 1,
        "asked": 10,
        "tuned_correct": 9,
        "tokens_per_request": 400,
    }
    assert (evaluation.general_regression_percent, evaluation.weak_topics) == (2, ("leave",))
