"""Limits that a user sets: how long a job may be active, how many GPU hours it may use, how long it stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.worlds import (
    NOW,
    child,
    ended,
    fine_tune_job,
    fine_tune_runtime,
    pod,
    preempted_report,
    until_stage,
    with_status,
    world,
)
from vernacular.api import ConditionStatus, ConditionType, FailureCode, FineTuneJob, JobState, Stage
from vernacular.api.base import timestamp
from vernacular.api.status import UsageStatus
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import Blocked, ClaimFacts, RunClosed, RunOpened, Snapshot
from vernacular_operator.manifests.runtime import snapshot_of

HOUR = timedelta(hours=1)


def with_policy(**policy: object) -> Snapshot:
    shared = {"workspace": {"accessMode": "ReadWriteMany"}}
    return world(fine_tune_job(compute={"pods": 2, "gpusPerPod": 4}, storage=shared, runPolicy=policy))


def training(**policy: object) -> Snapshot:
    pods = tuple(pod(Stage.TRAIN, index=index, scheduled_at=NOW) for index in range(2))
    return replace(until_stage(Stage.TRAIN, with_policy(**policy)), pods=pods)


def suspend(snapshot: Snapshot, value: bool) -> Snapshot:
    job: FineTuneJob = snapshot.job
    policy = job.spec.run_policy.model_copy(update={"suspend": value})
    spec = job.spec.model_copy(update={"run_policy": policy})
    return replace(snapshot, job=job.model_copy(update={"spec": spec}))


def cancelled(snapshot: Snapshot) -> Snapshot:
    job: FineTuneJob = snapshot.job
    policy = job.spec.run_policy.model_copy(update={"active_deadline_seconds": 0})
    spec = job.spec.model_copy(update={"run_policy": policy})
    return replace(snapshot, job=job.model_copy(update={"spec": spec}))


def test_a_job_that_is_active_for_too_long_fails() -> None:
    snapshot = training(activeDeadlineSeconds=600)
    early = reconcile(snapshot, NOW + timedelta(seconds=599))
    assert early.status.failure is None
    assert early.requeue_seconds == pytest.approx(1)

    plan = reconcile(snapshot, NOW + timedelta(seconds=600))
    assert plan.status.failure is not None
    assert (plan.status.failure.code, plan.status.failure.stage) == (FailureCode.DEADLINE_EXCEEDED, Stage.TRAIN)
    assert [item.name for item in plan.delete] == ["hr-bot-0a1b2-train-1"]


def test_no_time_at_all_means_none() -> None:
    snapshot = with_policy(activeDeadlineSeconds=0)
    snapshot = with_status(snapshot, reconcile(snapshot, NOW), jobs=(child(Stage.PREPARE),))
    plan = reconcile(snapshot, NOW)

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.DEADLINE_EXCEEDED


def without_its_runtime() -> Snapshot:
    return world(fine_tune_job(runtimeRef={"name": "h100"}))


def with_a_name_taken() -> Snapshot:
    return replace(world(), blocked=Blocked(FailureCode.NAME_CONFLICT, "Job hr-bot-0a1b2-prepare-1 is not of this job"))


def without_its_claim() -> Snapshot:
    job = fine_tune_job(storage={"workspace": {"claimName": "mine"}})
    return world(job, claim=ClaimFacts(exists=False))


def created_suspended() -> Snapshot:
    return with_policy(suspend=True)


def with_a_name_taken_while_it_trains() -> Snapshot:
    return replace(training(), blocked=Blocked(FailureCode.NAME_CONFLICT, "Service hr-bot is not of this job"))


@pytest.mark.parametrize(
    "held",
    [
        without_its_runtime(), with_a_name_taken(), without_its_claim(), created_suspended(),
        with_a_name_taken_while_it_trains(),
    ],
)  # fmt: skip
def test_a_job_that_waits_is_cancelled(held: Snapshot) -> None:
    stored = with_status(held, reconcile(held, NOW))
    assert stored.job.status.failure is None

    plan = reconcile(suspend(cancelled(stored), False), NOW)

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.DEADLINE_EXCEEDED
    assert plan.status.is_true(ConditionType.FAILED)
    assert (plan.create, plan.open_run) == ((), None)
    if held.job.status.start_time is None:
        assert plan.status.failure.stage is None
        assert "before it began" in plan.status.failure.message


def test_a_job_without_time_that_is_suspended_waits() -> None:
    snapshot = with_policy(suspend=True, activeDeadlineSeconds=0)
    plan = reconcile(snapshot, NOW)
    assert (plan.status.state, plan.status.failure) == (JobState.SUSPENDED, None)

    plan = reconcile(suspend(with_status(snapshot, plan), False), NOW + HOUR)
    assert plan.status.failure is not None


def test_the_time_while_a_job_is_suspended_does_not_count() -> None:
    snapshot = suspend(training(activeDeadlineSeconds=600), True)
    plan = reconcile(snapshot, NOW + timedelta(seconds=100))
    snapshot = with_status(snapshot, plan, jobs=snapshot.jobs[:-1], pods=())
    plan = reconcile(snapshot, NOW + timedelta(seconds=100))
    assert plan.status.state == JobState.SUSPENDED

    snapshot = with_status(snapshot, plan)
    assert reconcile(snapshot, NOW + 5 * HOUR).status.state == JobState.SUSPENDED
    plan = reconcile(suspend(snapshot, False), NOW + 5 * HOUR)
    assert plan.status.failure is None
    assert plan.status.usage is not None
    assert plan.status.usage.suspended_seconds == 5 * 3600 - 100
    assert "Resumed" in [event.reason for event in plan.events]

    snapshot = replace(with_status(suspend(snapshot, False), plan), jobs=(*snapshot.jobs, child(Stage.TRAIN, 2)))
    assert reconcile(snapshot, NOW + 5 * HOUR + timedelta(seconds=499)).status.failure is None
    assert reconcile(snapshot, NOW + 5 * HOUR + timedelta(seconds=500)).status.failure is not None


def test_gpu_seconds_are_those_of_all_pods_from_their_nodes_to_the_end() -> None:
    snapshot = training()
    plan = reconcile(snapshot, NOW)
    assert plan.status.stages[1].running_since == timestamp(NOW)
    failed = child(Stage.TRAIN, failed=True, finished_at=NOW + timedelta(seconds=60))
    snapshot = with_status(snapshot, plan, jobs=(*snapshot.jobs[:-1], failed), pods=(ended(Stage.TRAIN, exit_code=1),))
    plan = reconcile(snapshot, NOW + timedelta(seconds=65))

    assert plan.status.usage is not None
    assert plan.status.usage.gpu_seconds == 8 * 60
    assert plan.status.stages[1].running_since is None


def budget_spent() -> tuple[Snapshot, Plan]:
    snapshot = training(maxGpuHours=4)
    snapshot = with_status(snapshot, reconcile(snapshot, NOW))
    return snapshot, reconcile(snapshot, NOW + timedelta(minutes=30))


def test_the_gpu_hours_are_watched() -> None:
    snapshot = training(maxGpuHours=4)
    plan = reconcile(with_status(snapshot, reconcile(snapshot, NOW)), NOW + timedelta(minutes=29))

    assert plan.status.failure is None
    assert plan.requeue_seconds == pytest.approx(60)


def test_a_training_saves_a_checkpoint_before_its_job_ends_for_its_gpu_hours() -> None:
    snapshot, plan = budget_spent()
    assert [(item.name, item.grace_seconds) for item in plan.delete] == [("hr-bot-0a1b2-train-1", None)]
    assert plan.status.failure is None

    saved = tuple(
        ended(Stage.TRAIN, index=index, exit_code=85, report=preempted_report(13), gone=True) for index in range(2)
    )
    plan = reconcile(with_status(snapshot, plan, jobs=snapshot.jobs[:-1], pods=saved), NOW + timedelta(minutes=31))
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.BUDGET_EXCEEDED
    assert "4.0 GPU hours" in plan.status.failure.message
    assert "step 13" in plan.status.failure.message
    assert plan.end_run is not None


@pytest.mark.parametrize(
    ("own", "runtime", "limit", "who"),
    [
        (None, 4, 4, "the FineTuneRuntime h100 allows 4"),
        (9, 4, 4, "the FineTuneRuntime h100 allows 4"),
        (4, 9, 4, "spec.runPolicy.maxGpuHours allows 4"),
    ],
)
def test_the_gpu_hours_of_the_runtime_count_as_well(own: int | None, runtime: int, limit: int, who: str) -> None:
    snapshot = training(**({} if own is None else {"maxGpuHours": own}))
    taken = snapshot_of(fine_tune_runtime(limits={"maxGpuHours": runtime}))
    status = snapshot.job.status.model_copy(update={"runtime": taken})
    snapshot = replace(snapshot, job=snapshot.job.model_copy(update={"status": status}))
    snapshot = with_status(snapshot, reconcile(snapshot, NOW))

    assert reconcile(snapshot, NOW + limit * HOUR / 8 - timedelta(seconds=1)).delete == ()
    plan = reconcile(snapshot, NOW + limit * HOUR / 8)
    plan = reconcile(with_status(snapshot, plan, jobs=snapshot.jobs[:-1], pods=()), NOW + limit * HOUR / 8)
    assert plan.status.failure is not None
    assert who in plan.status.failure.message


def test_a_job_that_ends_by_its_deadline_ends_its_run() -> None:
    job = fine_tune_job(runPolicy={"activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0})
    started = until_stage(Stage.PREPARE, world(job, run=None))
    opened = replace(started, run=RunOpened("7", "run-1"))
    assert started.job.status.mlflow is None

    plan = reconcile(opened, NOW + timedelta(seconds=61))
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.DEADLINE_EXCEEDED
    assert (plan.end_run and plan.end_run.run_id, plan.open_run) == ("run-1", None)
    # nobody has a run opened for a job that has ended
    assert reconcile(started, NOW + timedelta(seconds=61)).open_run is None


def test_processors_use_no_gpu_hours() -> None:
    job = fine_tune_job(compute={"pods": 1, "gpusPerPod": 0}, runPolicy={"maxGpuHours": 0})
    plan = reconcile(replace(until_stage(Stage.TRAIN, world(job)), pods=(pod(Stage.TRAIN),)), NOW + 9 * HOUR)

    assert plan.status.state == JobState.TRAINING
    assert plan.status.usage == UsageStatus()


def finished(**policy: object) -> tuple[Snapshot, Plan]:
    snapshot = until_stage(Stage.PREPARE, with_policy(maxRestarts=0, **policy))
    jobs = (child(Stage.PREPARE, failed=True, finished_at=NOW),)
    snapshot = replace(snapshot, jobs=jobs, pods=(ended(Stage.PREPARE, exit_code=1),))
    return snapshot, reconcile(snapshot, NOW)


def test_a_job_that_ended_goes_after_its_time() -> None:
    snapshot, plan = finished(ttlSecondsAfterFinished=100)
    assert (plan.delete_job, plan.requeue_seconds) == (False, 100)
    over = replace(with_status(snapshot, plan), run=RunClosed())

    early = reconcile(over, NOW + timedelta(seconds=99))
    assert (early.delete_job, early.requeue_seconds) == (False, pytest.approx(1))
    assert reconcile(over, NOW + timedelta(seconds=100)).delete_job


def test_a_job_goes_only_after_its_run_was_closed() -> None:
    snapshot, plan = finished(ttlSecondsAfterFinished=100)
    over = with_status(snapshot, plan)
    assert over.job.status.mlflow
    assert isinstance(over.run, RunOpened)

    waiting = reconcile(over, NOW + timedelta(seconds=200))
    assert (waiting.delete_job, waiting.requeue_seconds) == (False, pytest.approx(10))
    assert waiting.end_run == plan.end_run

    assert reconcile(replace(over, run=RunClosed()), NOW + timedelta(seconds=200)).delete_job


def test_no_time_to_live_is_at_once_and_absent_is_for_ever() -> None:
    snapshot, plan = finished(ttlSecondsAfterFinished=0)
    assert reconcile(replace(with_status(snapshot, plan), run=RunClosed()), NOW).delete_job

    snapshot, plan = finished()
    later = reconcile(with_status(snapshot, plan), NOW + 9999 * HOUR)
    assert (later.delete_job, later.requeue_seconds) == (False, None)


def test_what_was_trained_but_not_published_is_never_deleted() -> None:
    snapshot = until_stage(Stage.PUBLISH, with_policy(maxRestarts=0, ttlSecondsAfterFinished=0))
    jobs = (*snapshot.jobs[:-1], child(Stage.PUBLISH, failed=True, finished_at=NOW))
    snapshot = replace(snapshot, jobs=jobs, pods=(ended(Stage.PUBLISH, exit_code=1),))
    plan = reconcile(snapshot, NOW)
    assert plan.status.state == JobState.FAILED
    trained = next(item for item in plan.status.conditions if item.type == ConditionType.TRAINED)
    assert trained.status == ConditionStatus.TRUE

    assert not reconcile(with_status(snapshot, plan), NOW + HOUR).delete_job
