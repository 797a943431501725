"""Attempts after failures: the budget, the backoff, and what costs nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from support.worlds import (
    NOW,
    child,
    ended,
    fine_tune_job,
    job_manifest,
    pod,
    preempted_report,
    until_stage,
    with_status,
    world,
)
from vernacular.api import ConditionStatus, ConditionType, FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.status import UsageStatus
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.policies.retry import backoff
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import PodFacts, ProgressFacts, Snapshot
from vernacular_trainer.contract import Outcome, StageReport


def failed(snapshot: Snapshot, stage: Stage, attempt: int, *pods: PodFacts) -> tuple[Snapshot, Plan]:
    """The attempt's Job is Failed with these pods; the plan that accounts for it."""
    others = tuple(job for job in snapshot.jobs if (job.stage, job.attempt) != (stage, attempt))
    snapshot = replace(snapshot, jobs=(*others, child(stage, attempt, failed=True, finished_at=NOW)), pods=pods)
    return snapshot, reconcile(snapshot, NOW)


def saved_at(step: int) -> ProgressFacts:
    return ProgressFacts(step + 1, 40, "0.4", "", None, None, NOW, checkpoint_step=step)


def with_restarts(number: int) -> Snapshot:
    return world(fine_tune_job(runPolicy={"maxRestarts": number}))


def test_a_failed_attempt_is_followed_by_another_after_the_backoff() -> None:
    snapshot, plan = failed(until_stage(Stage.TRAIN), Stage.TRAIN, 1, ended(Stage.TRAIN, exit_code=1))
    assert plan.create == ()
    assert plan.status.usage is not None
    assert plan.status.usage.restarts == 1
    assert plan.status.stages[1].state == StageState.PENDING
    assert plan.status.reason == Reason.RETRYING
    assert plan.requeue_seconds == pytest.approx(10)

    waiting = with_status(snapshot, plan)
    assert reconcile(waiting, NOW + timedelta(seconds=9)).create == ()
    plan = reconcile(waiting, NOW + timedelta(seconds=10))
    assert job_manifest(plan)["metadata"]["name"] == "hr-bot-0a1b2-train-2"
    assert plan.status.usage is not None
    assert plan.status.usage.restarts == 1
    assert plan.attempt is not None
    assert plan.attempt.attempt == 2


def test_no_restarts_means_none() -> None:
    _, plan = failed(until_stage(Stage.PREPARE, with_restarts(0)), Stage.PREPARE, 1, ended(Stage.PREPARE, exit_code=1))

    assert plan.status.state == JobState.FAILED
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.INTERNAL_ERROR
    assert plan.status.failure.stage == Stage.PREPARE
    assert "exit code 1" in plan.status.failure.message
    assert plan.end_run is not None
    assert plan.end_run.status == "FAILED"


def test_the_budget_ends_with_the_last_cause() -> None:
    snapshot = until_stage(Stage.PREPARE, with_restarts(1))
    snapshot, plan = failed(snapshot, Stage.PREPARE, 1, ended(Stage.PREPARE, exit_code=1))
    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=10))
    snapshot = with_status(snapshot, plan, jobs=(*snapshot.jobs, child(Stage.PREPARE, 2)))
    _, plan = failed(snapshot, Stage.PREPARE, 2, ended(Stage.PREPARE, 2, exit_code=1, reason="OOMKilled"))

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.HOST_OUT_OF_MEMORY
    assert "after 1 restart" in plan.status.failure.message


def test_a_users_error_is_never_retried_and_keeps_the_reports_words() -> None:
    report = StageReport(Outcome.USER_ERROR, code="DatasetSchema", message="row 3", advice="mend it", evidence="a:3")
    _, plan = failed(until_stage(Stage.PREPARE), Stage.PREPARE, 1, ended(Stage.PREPARE, exit_code=78, report=report))

    assert plan.status.failure is not None
    assert plan.status.failure.to_dict() == {
        "stage": "Prepare", "code": "DatasetSchema", "message": "row 3", "advice": "mend it", "evidence": "a:3",
    }  # fmt: skip
    assert plan.events[-1].reason == "DatasetSchema"


def test_a_users_error_is_told_while_other_pods_still_end() -> None:
    report = StageReport(Outcome.USER_ERROR, code="WorldSizeMismatch", message="1 of 4 devices")
    snapshot = until_stage(Stage.TRAIN)
    pods = (ended(Stage.TRAIN, exit_code=78, report=report), pod(Stage.TRAIN, index=1, deletion_time=NOW))
    plan = reconcile(replace(snapshot, jobs=(*snapshot.jobs[:-1], child(Stage.TRAIN, failing=True)), pods=pods), NOW)

    assert plan.status.state == JobState.FAILED
    assert plan.delete == ()


def test_other_failures_are_explained_while_pods_still_end_and_counted_later() -> None:
    snapshot = until_stage(Stage.TRAIN)
    pods = (ended(Stage.TRAIN, exit_code=1, reason="OOMKilled"), pod(Stage.TRAIN, index=1, deletion_time=NOW))
    plan = reconcile(replace(snapshot, jobs=(*snapshot.jobs[:-1], child(Stage.TRAIN, failing=True)), pods=pods), NOW)

    assert plan.status.reason == FailureCode.HOST_OUT_OF_MEMORY
    assert plan.status.usage == UsageStatus()
    assert plan.create == ()


def test_a_preemption_with_a_new_checkpoint_costs_nothing() -> None:
    snapshot = until_stage(Stage.TRAIN, with_restarts(0))
    _, plan = failed(snapshot, Stage.TRAIN, 1, ended(Stage.TRAIN, exit_code=85, report=preempted_report(13)))

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.preemptions) == (0, 1)
    assert plan.status.checkpoints is not None
    assert plan.status.checkpoints.latest_step == 13
    assert plan.status.reason == Reason.PREEMPTED


def test_a_preemption_without_a_new_checkpoint_costs_a_restart() -> None:
    snapshot = until_stage(Stage.TRAIN, with_restarts(1))
    snapshot, plan = failed(snapshot, Stage.TRAIN, 1, ended(Stage.TRAIN, exit_code=85, report=preempted_report(13)))
    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=10))
    snapshot = with_status(snapshot, plan, jobs=(*snapshot.jobs, child(Stage.TRAIN, 2)))
    _, plan = failed(snapshot, Stage.TRAIN, 2, ended(Stage.TRAIN, 2, exit_code=85, report=preempted_report(13)))

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.preemptions) == (1, 1)


INTERRUPTIONS = [
    pytest.param({"disruption": "DeletionByTaintManager", "gone": True}, id="node lost"),
    pytest.param({"phase": "Failed", "running": False, "status_reason": "Evicted"}, id="evicted"),
    pytest.param({"disruption": "PreemptionByScheduler", "gone": True}, id="preempted"),
    pytest.param({"gone": True}, id="deleted"),
]


@pytest.mark.parametrize("change", INTERRUPTIONS)
def test_an_interruption_after_a_newer_checkpoint_costs_nothing(change: dict[str, object]) -> None:
    snapshot = replace(until_stage(Stage.TRAIN, with_restarts(0)), progress=saved_at(12))
    snapshot, plan = failed(snapshot, Stage.TRAIN, 1, pod(Stage.TRAIN, **change))

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.preemptions) == (0, 1)
    assert plan.status.stages[1].state == StageState.PENDING
    plan = reconcile(with_status(snapshot, plan), NOW)
    assert job_manifest(plan)["metadata"]["name"] == "hr-bot-0a1b2-train-2"


@pytest.mark.parametrize("change", INTERRUPTIONS)
def test_interruptions_without_a_newer_checkpoint_come_to_an_end(change: dict[str, object]) -> None:
    snapshot = replace(until_stage(Stage.TRAIN, with_restarts(0)), progress=saved_at(12))
    snapshot, plan = failed(snapshot, Stage.TRAIN, 1, pod(Stage.TRAIN, **change))
    plan = reconcile(with_status(snapshot, plan), NOW)
    snapshot = with_status(snapshot, plan, jobs=(*snapshot.jobs, child(Stage.TRAIN, 2)))
    _, plan = failed(snapshot, Stage.TRAIN, 2, pod(Stage.TRAIN, 2, **change))

    assert plan.status.state == JobState.FAILED


def test_an_interruption_of_a_stage_without_checkpoints_costs_a_restart() -> None:
    _, plan = failed(until_stage(Stage.PREPARE), Stage.PREPARE, 1, pod(Stage.PREPARE, gone=True))

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.preemptions) == (1, 0)


def test_mlflow_away_in_a_stage_is_waited_for_and_costs_nothing() -> None:
    report = StageReport(Outcome.INTERNAL, code="TrackingUnavailable", message="MLflow does not answer")
    snapshot, plan = failed(
        until_stage(Stage.PREPARE, with_restarts(0)),
        Stage.PREPARE,
        1,
        ended(Stage.PREPARE, exit_code=203, report=report),
    )
    assert plan.status.reason == FailureCode.TRACKING_UNAVAILABLE
    assert plan.status.usage == UsageStatus()

    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=10))
    assert job_manifest(plan)["metadata"]["name"] == "hr-bot-0a1b2-prepare-2"


def test_a_job_that_someone_deleted_is_made_again() -> None:
    snapshot = replace(until_stage(Stage.PREPARE), jobs=())
    plan = reconcile(snapshot, NOW)
    assert plan.status.usage is not None
    assert plan.status.usage.restarts == 1

    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=11))
    assert job_manifest(plan)["metadata"]["name"] == "hr-bot-0a1b2-prepare-2"


def test_no_attempt_starts_while_pods_of_an_earlier_one_may_run() -> None:
    snapshot, plan = failed(
        until_stage(Stage.TRAIN), Stage.TRAIN, 1, ended(Stage.TRAIN, exit_code=1), pod(Stage.TRAIN, index=1)
    )
    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=60))

    assert plan.create == ()
    assert plan.status.reason == Reason.WAITING_FOR_DELETION


def test_a_terminal_job_stays_terminal_whatever_comes() -> None:
    snapshot, plan = failed(
        until_stage(Stage.PREPARE, with_restarts(0)), Stage.PREPARE, 1, ended(Stage.PREPARE, exit_code=1)
    )
    over = with_status(snapshot, plan, jobs=(child(Stage.PREPARE, complete=True),))
    again = reconcile(over, NOW + timedelta(hours=1))

    assert again.status == plan.status
    assert (again.create, again.delete, again.events, again.end_run) == ((), (), (), None)
    assert any(i.type == ConditionType.FAILED and i.status == ConditionStatus.TRUE for i in again.status.conditions)


def test_backoff_doubles_from_ten_seconds_to_five_minutes() -> None:
    delays = [backoff(attempt).total_seconds() for attempt in range(1, 60)]

    assert delays[:5] == [10, 20, 40, 80, 160]
    assert delays[-1] == 300
    assert all(a <= b for a, b in pairwise(delays))


def test_an_attempt_whose_job_was_deleted_is_judged_once_its_pods_have_ended() -> None:
    snapshot = replace(until_stage(Stage.TRAIN, with_restarts(0)), pods=(pod(Stage.TRAIN, deletion_time=NOW),))
    snapshot = replace(snapshot, jobs=snapshot.jobs[:-1])
    plan = reconcile(snapshot, NOW)
    assert plan.status.reason == Reason.WAITING_FOR_DELETION
    assert plan.status.usage == UsageStatus()
    assert plan.delete == ()

    saved = ended(Stage.TRAIN, exit_code=85, report=preempted_report(13), deletion_time=NOW, marked_at=NOW)
    plan = reconcile(with_status(snapshot, plan, pods=(saved,)), NOW)
    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.preemptions) == (0, 1)


def test_pods_that_outlive_their_deleted_job_are_stopped() -> None:
    snapshot = replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN, orphaned=True),))
    plan = reconcile(replace(snapshot, jobs=snapshot.jobs[:-1]), NOW)

    assert [(item.kind, item.uid, item.grace_seconds) for item in plan.delete] == [("Pod", "pod-Train-1-0", None)]


def test_pods_whose_job_is_not_seen_are_left_alone() -> None:
    snapshot = replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN),))
    plan = reconcile(replace(snapshot, jobs=snapshot.jobs[:-1]), NOW)

    assert (plan.delete, plan.create) == ((), ())
    assert plan.status.usage == UsageStatus()
