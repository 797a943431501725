"""What a running attempt waits for, and which waits end the job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.worlds import NOW, fine_tune_job, pod, until_stage, with_status, world
from vernacular.api import FailureCode, JobState, Stage
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import PodFacts, Snapshot

NOT_FOUND = '0/2 nodes are available: persistentvolumeclaim "{}" not found. preemption: 0/2 nodes are available'


def waiting(**changes: object) -> PodFacts:
    return pod(Stage.PREPARE, phase="Pending", running=False, **changes)


def preparing(*pods: PodFacts, **spec: object) -> Snapshot:
    return replace(until_stage(Stage.PREPARE, world(fine_tune_job(**spec))), pods=pods)


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ("rows", FailureCode.DATASET_NOT_FOUND),
        ("asked", FailureCode.DATASET_NOT_FOUND),
        ("models", FailureCode.MODEL_NOT_FOUND),
        ("mine", FailureCode.VOLUME_NOT_BOUND),
    ],
)
def test_a_claim_that_stays_missing_ends_the_job_before_any_training(claim: str, code: FailureCode) -> None:
    spec = {
        "dataset": {"train": [{"uri": "pvc://rows/train.jsonl"}]},
        "evaluation": {"questions": {"uri": "pvc://asked/questions.jsonl"}},
        "storage": {"workspace": {"claimName": "mine"}},
    }
    stuck = waiting(unschedulable=NOT_FOUND.format(claim), unschedulable_since=NOW)
    snapshot = preparing(stuck, **spec)
    early = reconcile(snapshot, NOW + timedelta(seconds=19))
    assert early.status.failure is None
    assert early.status.reason == FailureCode.VOLUME_NOT_BOUND
    assert early.requeue_seconds is not None

    plan = reconcile(with_status(snapshot, early), NOW + timedelta(seconds=21))
    assert plan.status.failure is not None
    assert plan.status.failure.code == code
    assert f"claim {claim} in namespace demo" in plan.status.failure.message
    assert [reference.kind for reference in plan.delete] == ["Job"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", FailureCode.UNSCHEDULABLE),
        ("pod has unbound immediate PersistentVolumeClaims", FailureCode.VOLUME_NOT_BOUND),
    ],
)
def test_what_may_still_come_is_waited_for(message: str, reason: FailureCode) -> None:
    stuck = waiting(unschedulable=message, unschedulable_since=NOW)
    plan = reconcile(preparing(stuck), NOW + timedelta(hours=1))

    assert (plan.status.state, plan.status.reason) == (JobState.PREPARING, reason)
    assert message in (plan.status.message or "")


@pytest.mark.parametrize(
    ("trouble", "code"),
    [("ImagePullBackOff", FailureCode.IMAGE_PULL), ("CreateContainerConfigError", FailureCode.INTERNAL_ERROR)],
)
def test_a_container_that_cannot_start_ends_the_job_after_ten_minutes(trouble: str, code: FailureCode) -> None:
    stuck = waiting(waiting_reason=trouble, waiting_message="no such image", scheduled_at=NOW)
    snapshot = preparing(stuck)
    assert reconcile(snapshot, NOW + timedelta(minutes=9)).status.failure is None

    plan = reconcile(snapshot, NOW + timedelta(minutes=10))
    assert plan.status.failure is not None
    assert plan.status.failure.code == code
    assert "no such image" in plan.status.failure.message


def test_an_image_name_that_cannot_be_is_told_at_once() -> None:
    plan = reconcile(preparing(waiting(waiting_reason="InvalidImageName", scheduled_at=NOW)), NOW)

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.IMAGE_PULL


def test_a_pod_far_past_its_grace_period_is_removed_by_force() -> None:
    snapshot = preparing(pod(Stage.PREPARE, deletion_time=NOW))
    early = reconcile(snapshot, NOW + timedelta(seconds=29))
    assert early.delete == ()
    assert early.requeue_seconds == pytest.approx(1)

    plan = reconcile(snapshot, NOW + timedelta(seconds=30))
    assert [(item.kind, item.uid, item.grace_seconds) for item in plan.delete] == [("Pod", "pod-Prepare-1-0", 0)]
