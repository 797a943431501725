"""Suspension ends the running attempt and keeps what was learned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.worlds import NOW, child, ended, job_manifest, pod, preempted_report, until_stage, with_status, world
from vernacular.api import ConditionStatus, ConditionType, FineTuneJob, JobState, Reason, Stage, StageState
from vernacular.api.status import UsageStatus
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import PodFacts, Snapshot
from vernacular_trainer.contract import Outcome, StageReport

USER_ERROR = StageReport(Outcome.USER_ERROR, code="DatasetSchema", message="row 3")


def suspended(job: FineTuneJob, value: bool = True) -> FineTuneJob:
    policy = job.spec.run_policy.model_copy(update={"suspend": value})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"run_policy": policy})})


def condition(plan: Plan) -> ConditionStatus:
    return next(item.status for item in plan.status.conditions if item.type == ConditionType.SUSPENDED)


def stopped() -> tuple[Snapshot, Plan]:
    snapshot = replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN),))
    snapshot = replace(snapshot, job=suspended(snapshot.job))
    return snapshot, reconcile(snapshot, NOW)


def test_suspending_deletes_the_running_attempt() -> None:
    snapshot, plan = stopped()

    assert [reference.name for reference in plan.delete] == ["hr-bot-0a1b2-train-1"]
    assert plan.delete[0].grace_seconds is None
    assert plan.status.stages[1].state == StageState.PENDING
    assert plan.end_run is None
    assert reconcile(with_status(snapshot, plan), NOW).create == ()


def test_a_job_is_suspended_only_once_its_pods_are_gone() -> None:
    snapshot, plan = stopped()
    assert plan.status.state == JobState.STARTING
    assert plan.status.reason == Reason.WAITING_FOR_DELETION
    assert condition(plan) == ConditionStatus.FALSE

    ending = with_status(snapshot, plan, jobs=snapshot.jobs[:-1])
    assert reconcile(ending, NOW).status.reason == Reason.WAITING_FOR_DELETION
    plan = reconcile(replace(ending, pods=(pod(Stage.TRAIN, gone=True),)), NOW)
    assert plan.status.state == JobState.SUSPENDED
    assert condition(plan) == ConditionStatus.TRUE


def test_a_checkpoint_that_was_saved_on_the_way_out_is_noted() -> None:
    snapshot, plan = stopped()
    pods = (ended(Stage.TRAIN, exit_code=85, report=preempted_report(13), gone=True),)
    plan = reconcile(with_status(snapshot, plan, jobs=snapshot.jobs[:-1], pods=pods), NOW)

    assert plan.status.checkpoints is not None
    assert plan.status.checkpoints.latest_step == 13
    assert plan.status.state == JobState.SUSPENDED


@pytest.mark.parametrize(
    "pods",
    [(), (pod(Stage.TRAIN),), (ended(Stage.TRAIN, exit_code=85, report=preempted_report(0), gone=True),)],
    ids=["seen by nobody", "still ending", "without a checkpoint"],
)
def test_an_operator_that_was_killed_before_it_said_so_has_suspended_all_the_same(pods: tuple[PodFacts, ...]) -> None:
    snapshot, _ = stopped()
    killed = replace(snapshot, jobs=snapshot.jobs[:-1], pods=pods)

    plan = reconcile(killed, NOW)
    gone = tuple(replace(each, gone=True) for each in pods)
    plan = reconcile(with_status(killed, plan, pods=gone), NOW)

    assert plan.status.state == JobState.SUSPENDED
    assert plan.status.usage == UsageStatus()


def test_an_error_of_the_user_is_told_though_the_job_was_to_be_suspended() -> None:
    snapshot, _ = stopped()
    wrong = ended(Stage.TRAIN, exit_code=78, report=USER_ERROR, gone=True)

    plan = reconcile(replace(snapshot, jobs=snapshot.jobs[:-1], pods=(wrong,)), NOW)

    assert plan.status.state == JobState.FAILED


def test_going_on_is_a_new_attempt_once_the_old_pods_are_gone() -> None:
    snapshot, plan = stopped()
    resumed = with_status(snapshot, plan, jobs=snapshot.jobs[:-1])
    resumed = replace(resumed, job=suspended(resumed.job, False))
    waiting = reconcile(resumed, NOW)
    assert waiting.create == ()
    assert waiting.status.reason == Reason.WAITING_FOR_DELETION

    plan = reconcile(with_status(replace(resumed, pods=(pod(Stage.TRAIN, gone=True),)), waiting), NOW)
    assert job_manifest(plan)["metadata"]["name"] == "hr-bot-0a1b2-train-2"
    assert condition(plan) == ConditionStatus.FALSE
    assert plan.status.usage == UsageStatus()


def test_a_job_that_is_created_suspended_starts_nothing() -> None:
    snapshot = world()
    plan = reconcile(replace(snapshot, job=suspended(snapshot.job)), NOW)

    assert plan.create == ()
    assert plan.status.state == JobState.SUSPENDED


def test_a_stage_that_completes_while_it_is_suspended_counts() -> None:
    snapshot = until_stage(Stage.PREPARE)
    snapshot = replace(
        snapshot, job=suspended(snapshot.job), jobs=(child(Stage.PREPARE, complete=True, finished_at=NOW),)
    )
    plan = reconcile(snapshot, NOW)

    assert plan.status.stages[0].state == StageState.SUCCEEDED
    assert plan.status.state == JobState.SUSPENDED
    assert (plan.create, plan.delete) == ((), ())
