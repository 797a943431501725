"""The MLflow run: asked for at once, waited for by training alone; progress taken over sparingly."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from support.worlds import NOW, RUN, child, fine_tune_job, job_manifest, pod, until_stage, with_status, world
from vernacular.api import FailureCode, JobState, Reason, Stage, StageState
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import ProgressFacts, RunOpened, Snapshot, TrackingProblem


def prepared(run: RunOpened | TrackingProblem | None) -> Snapshot:
    """Prepare is complete; the run is not in the status yet."""
    snapshot = until_stage(Stage.PREPARE, world(run=None))
    return replace(snapshot, run=run, jobs=(child(Stage.PREPARE, complete=True, finished_at=NOW),))


def test_training_waits_for_mlflow_and_says_so() -> None:
    plan = reconcile(prepared(TrackingProblem("connection refused")), NOW)

    assert plan.create == ()
    assert plan.status.reason == FailureCode.TRACKING_UNAVAILABLE
    assert "connection refused" in (plan.status.message or "")
    assert plan.open_run is not None
    assert plan.requeue_seconds is not None
    assert [event.reason for event in plan.events] == ["PrepareSucceeded", FailureCode.TRACKING_UNAVAILABLE]


def test_training_waits_for_a_run_that_is_being_opened() -> None:
    plan = reconcile(prepared(None), NOW)

    assert plan.create == ()
    assert plan.status.reason == Reason.WAITING_FOR_TRACKING


def test_a_training_that_ended_before_its_run_was_noted_stays_succeeded() -> None:
    """The operator died after it had made the training's Job, before it could write of it; MLflow is away since."""
    waiting = prepared(None)
    waiting = with_status(waiting, reconcile(waiting, NOW))
    trained = child(Stage.TRAIN, complete=True, finished_at=NOW)
    plan = reconcile(replace(waiting, jobs=(*waiting.jobs, trained)), NOW)

    states = {item.name: item.state for item in plan.status.stages}
    assert (states[Stage.TRAIN], states[Stage.EVALUATE]) == (StageState.SUCCEEDED, StageState.PENDING)
    assert plan.status.reason == Reason.WAITING_FOR_TRACKING
    assert (plan.status.message or "").startswith("Evaluate waits")


def test_training_starts_with_the_run_and_its_link() -> None:
    waiting = prepared(TrackingProblem("connection refused"))
    waiting = with_status(waiting, reconcile(waiting, NOW))
    plan = reconcile(replace(waiting, run=RUN), NOW)

    assert (
        '"run_id": "run-1"' in job_manifest(plan)["spec"]["template"]["metadata"]["annotations"]["vernacular.dev/job"]
    )
    assert plan.status.mlflow is not None
    assert plan.status.mlflow.url == "http://mlflow:5000/#/experiments/7/runs/run-1"
    assert plan.status.state == JobState.STARTING
    assert plan.open_run is None


def test_a_run_is_named_with_the_next_change_or_soon() -> None:
    started = until_stage(Stage.PREPARE, world(run=None))
    opened = replace(started, run=RUN)
    early = reconcile(opened, NOW + timedelta(seconds=4))
    assert (early.status, early.requeue_seconds) == (started.job.status, 116)
    assert reconcile(opened, NOW + timedelta(minutes=2)).status.mlflow is not None

    pods = (pod(Stage.PREPARE, running=True),)
    running = reconcile(replace(opened, pods=pods), NOW + timedelta(seconds=4))
    assert (running.status.reason, running.status.mlflow is not None) == (Reason.RUNNING, True)

    # opened after the pod was told to run: its phases are read from the run, which is named at once
    told = reconcile(replace(started, pods=pods), NOW + timedelta(seconds=1))
    late = with_status(replace(started, pods=pods), told)
    assert (told.status.reason, told.status.mlflow) == (Reason.RUNNING, None)
    assert reconcile(replace(late, run=RUN), NOW + timedelta(seconds=4)).status.mlflow is not None


def test_prepare_does_not_wait_for_mlflow() -> None:
    assert job_manifest(reconcile(world(run=TrackingProblem("connection refused")), NOW))


def test_refused_credentials_end_the_job() -> None:
    snapshot = replace(until_stage(Stage.PREPARE, world(run=None)), run=TrackingProblem("HTTP 403", denied=True))
    plan = reconcile(snapshot, NOW)

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.TRACKING_ACCESS_DENIED
    assert "HTTP 403" in plan.status.failure.message
    assert [reference.name for reference in plan.delete] == ["hr-bot-0a1b2-prepare-1"]


def test_tags_of_the_user_never_replace_the_operators() -> None:
    tags = {"team": "hr"}
    job = fine_tune_job(tracking={"mlflow": {"experiment": "assistants", "tags": tags}})
    request = reconcile(world(job, run=None), NOW).open_run

    assert request is not None
    assert request.experiment == "demo.assistants"
    assert request.tags["team"] == "hr"
    assert request.tags["vernacular.dev/cluster"] == "cluster-1"


def progress(step: int, after: float = 0) -> ProgressFacts:
    return ProgressFacts(step, 1000, "0.5", "", 100, 60, NOW + timedelta(seconds=after))


def training(seen: ProgressFacts) -> tuple[Snapshot, Plan]:
    snapshot = replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN),), progress=seen)
    return snapshot, reconcile(snapshot, NOW)


def test_progress_is_written_when_it_moved_by_a_percent() -> None:
    snapshot, plan = training(progress(100))
    assert plan.status.progress is not None
    assert (plan.status.progress.percent, plan.status.progress.eta_seconds) == (10, 60)

    stored = with_status(snapshot, plan)
    assert reconcile(replace(stored, progress=progress(109, 5)), NOW).status == plan.status
    moved = reconcile(replace(stored, progress=progress(110, 5)), NOW).status.progress
    assert moved is not None
    assert moved.percent == 11


def test_progress_is_written_every_minute() -> None:
    snapshot, plan = training(progress(100))
    later = reconcile(replace(with_status(snapshot, plan), progress=progress(101, 60)), NOW).status.progress

    assert later is not None
    assert later.step == 101
