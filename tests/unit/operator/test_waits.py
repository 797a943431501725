"""What a running attempt waits for, and which waits end the job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.worlds import NOW, child, fine_tune_job, pod, until_stage, with_status, world
from vernacular.api import FailureCode, JobState, Reason, Stage
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import PodFacts, Snapshot
from vernacular_trainer.contract import Phase, PhaseReport
from vernacular_trainer.contract import Stage as ContractStage

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
    ("message", "told", "reason"),
    [
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu. preemption:"
            " 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            "none of 3 nodes can take it: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu",
            FailureCode.UNSCHEDULABLE,
        ),
        (
            "pod has unbound immediate PersistentVolumeClaims",
            "pod has unbound immediate PersistentVolumeClaims",
            FailureCode.VOLUME_NOT_BOUND,
        ),
    ],
)
def test_what_may_still_come_is_waited_for(message: str, told: str, reason: FailureCode) -> None:
    stuck = waiting(unschedulable=message, unschedulable_since=NOW)
    plan = reconcile(preparing(stuck), NOW + timedelta(hours=1))

    assert (plan.status.state, plan.status.reason) == (JobState.PREPARING, reason)
    assert told in (plan.status.message or "")


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


def test_a_job_that_a_queue_holds_back_is_queued() -> None:
    snapshot = until_stage(Stage.TRAIN)
    held = child(Stage.TRAIN, suspended=True, queue="hr", message="Job suspended")
    plan = reconcile(replace(snapshot, jobs=(*snapshot.jobs[:-1], held)), NOW)

    assert (plan.status.state, plan.status.reason) == (JobState.QUEUED, Reason.WAITING_FOR_QUOTA)
    assert "Job suspended" in (plan.status.message or "")


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        (
            {"waiting_reason": "ImagePullBackOff", "waiting_message": "not found"},
            FailureCode.IMAGE_PULL,
            "image example.org/data:1: ImagePullBackOff: not found",
        ),
        ({"waiting_reason": "ContainerCreating"}, Reason.STARTING, "ContainerCreating"),
        ({"waiting_reason": "PodInitializing"}, Reason.STARTING, "PodInitializing"),
        ({"waiting_reason": "RunContainerError"}, Reason.WAITING_FOR_POD, "RunContainerError"),
        ({}, Reason.WAITING_FOR_POD, "no pod of Job hr-bot-0a1b2-prepare-1 runs yet"),
    ],
)
def test_a_pod_that_does_not_run_yet_says_why(change: dict[str, str], reason: str, told: str) -> None:
    plan = reconcile(preparing(waiting(image="example.org/data:1", scheduled_at=NOW, **change)), NOW)

    assert (plan.status.state, plan.status.reason) == (JobState.PREPARING, reason)
    assert told in (plan.status.message or "")


def test_pods_that_run_wait_for_their_peers() -> None:
    shared = {"workspace": {"accessMode": "ReadWriteMany"}}
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0}, storage=shared)
    snapshot = until_stage(Stage.TRAIN, world(job))
    pods = (pod(Stage.TRAIN), pod(Stage.TRAIN, index=1, running=False, phase="Pending"))
    plan = reconcile(replace(snapshot, pods=pods), NOW)

    assert (plan.status.state, plan.status.reason) == (JobState.STARTING, Reason.WAITING_FOR_PEERS)
    assert plan.status.message == "1 of 2 pods run"


@pytest.mark.parametrize(
    ("stage", "phase", "state"),
    [
        (Stage.PREPARE, Phase.DOWNLOADING, JobState.PREPARING),
        (Stage.PREPARE, Phase.CHECKING_DATA, JobState.PREPARING),
        (Stage.PREPARE, Phase.TOKENISING, JobState.PREPARING),
        (Stage.TRAIN, Phase.LOADING_MODEL, JobState.TRAINING),
        (Stage.TRAIN, Phase.TRAINING, JobState.TRAINING),
        (Stage.TRAIN, Phase.SAVING, JobState.TRAINING),
        (Stage.TRAIN, Phase.EVALUATING, JobState.TRAINING),
        (Stage.EVALUATE, Phase.LOADING_MODEL, JobState.EVALUATING),
        (Stage.EVALUATE, Phase.EVALUATING, JobState.EVALUATING),
        (Stage.PUBLISH, Phase.PUBLISHING, JobState.PUBLISHING),
    ],
)
def test_a_running_stage_says_what_it_does(stage: Stage, phase: Phase, state: JobState) -> None:
    told = PhaseReport(ContractStage(stage.value), 1, phase, "3.2 GB so far")
    plan = reconcile(replace(until_stage(stage), pods=(pod(stage),), phase=told), NOW)

    assert (plan.status.state, plan.status.reason) == (state, phase.value)
    assert plan.status.message == "3.2 GB so far"


def test_what_an_earlier_attempt_said_is_not_repeated() -> None:
    old = PhaseReport(ContractStage.PREPARE, 1, Phase.TOKENISING)
    plan = reconcile(replace(until_stage(Stage.TRAIN), pods=(pod(Stage.TRAIN),), phase=old), NOW)

    assert (plan.status.state, plan.status.reason) == (JobState.TRAINING, Reason.RUNNING)
