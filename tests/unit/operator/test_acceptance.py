"""What the operator checks before anything starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.worlds import NOW, config, fine_tune_job, with_status, world
from vernacular.api import ConditionStatus, ConditionType, FailureCode, JobState
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import Blocked, ClaimFacts


def condition(plan: Plan, kind: ConditionType) -> ConditionStatus:
    return next(item.status for item in plan.status.conditions if item.type == kind)


@pytest.mark.parametrize(
    ("workspace", "default", "claim"),
    [
        pytest.param({}, "ReadWriteOnce", None, id="the operator's default"),
        pytest.param({"accessMode": "ReadWriteOnce"}, "ReadWriteMany", None, id="what the user wrote"),
        pytest.param(
            {"claimName": "mine"}, "ReadWriteMany", ClaimFacts(True, ("ReadWriteOnce",)), id="the user's claim"
        ),
    ],
)
def test_two_pods_on_a_volume_of_one_node_are_refused(
    workspace: dict[str, str], default: str, claim: ClaimFacts | None
) -> None:
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0}, storage={"workspace": workspace})
    plan = reconcile(world(job, config=config(storage={"accessMode": default}), claim=claim), NOW)

    assert plan.status.state == JobState.FAILED
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.STORAGE_NOT_SHARED
    assert "ReadWriteMany" in plan.status.failure.advice
    assert condition(plan, ConditionType.ACCEPTED) == ConditionStatus.FALSE
    assert plan.create == ()


@pytest.mark.parametrize(
    ("workspace", "claim"),
    [({"accessMode": "ReadWriteMany"}, None), ({"claimName": "mine"}, ClaimFacts(True, ("ReadWriteMany",)))],
)
def test_two_pods_on_a_shared_volume_are_accepted(workspace: dict[str, str], claim: ClaimFacts | None) -> None:
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0}, storage={"workspace": workspace})
    plan = reconcile(world(job, claim=claim), NOW)

    assert condition(plan, ConditionType.ACCEPTED) == ConditionStatus.TRUE
    assert plan.status.state == JobState.PREPARING


def test_a_missing_workspace_claim_is_waited_for_and_then_told() -> None:
    job = fine_tune_job(storage={"workspace": {"claimName": "mine"}})
    snapshot = world(job, claim=ClaimFacts(exists=False))
    plan = reconcile(snapshot, NOW)
    assert (plan.status.state, plan.status.reason) == (JobState.PENDING, FailureCode.VOLUME_NOT_BOUND)
    assert plan.create == ()
    assert plan.requeue_seconds is not None

    plan = reconcile(with_status(snapshot, plan), NOW + timedelta(seconds=plan.requeue_seconds))
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.VOLUME_NOT_BOUND
    assert "claim mine" in plan.status.failure.message
    assert "namespace demo" in plan.status.failure.message


def test_a_name_conflict_holds_the_job_until_the_other_object_is_gone() -> None:
    snapshot = world()
    accepted = reconcile(snapshot, NOW)
    blocked = Blocked(FailureCode.NAME_CONFLICT, "Job hr-bot-0a1b2-prepare-1 exists and does not belong to this job")
    held = reconcile(replace(snapshot, blocked=blocked), NOW)
    assert held.create == ()
    assert held.status.reason == FailureCode.NAME_CONFLICT
    assert condition(held, ConditionType.ACCEPTED) == ConditionStatus.FALSE
    assert not any(item.type == ConditionType.FAILED and item.status == "True" for item in held.status.conditions)
    assert held.requeue_seconds is not None

    later = reconcile(with_status(snapshot, held), NOW + timedelta(seconds=held.requeue_seconds))
    assert later.create == accepted.create
    assert condition(later, ConditionType.ACCEPTED) == ConditionStatus.TRUE


def test_every_condition_is_there_from_the_first_status_on() -> None:
    plan = reconcile(world(), NOW)

    assert [item.type for item in plan.status.conditions] == list(ConditionType)
    assert {item.observed_generation for item in plan.status.conditions} <= {0, 1}
    assert plan.status.observed_generation == 1
