"""A running attempt: what it waits for, and the waits that can only end badly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from vernacular.api import FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.policies import ending, volumes
from vernacular_operator.domain.snapshot import JobFacts, PodFacts
from vernacular_operator.manifests.job_config import Attempt

PATIENCE = timedelta(minutes=10)
_PULL_TROUBLE = frozenset({"ErrImagePull", "ImagePullBackOff"})
_HOPELESS_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_CONTAINER_TROUBLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def explain(draft: Draft, stage: Stage, attempt: int, job: JobFacts) -> None:
    """Say what the attempt does or waits for; fail the job when it waits in vain."""
    pods = [pod for pod in draft.world.pods_of(stage, attempt) if not pod.gone]
    started = draft.record(stage).start_time or timestamp(draft.now)
    draft.write(
        stage, state=StageState.RUNNING, attempt=attempt, job_name=job.name, start_time=started, completion_time=None
    )
    if any(_fail_if_hopeless(draft, stage, pod) for pod in pods):
        return
    reason, message = _reason(pods, Attempt(draft.world.job, stage, attempt).pods, job)
    draft.write(stage, reason=reason, message=message or None)
    training = stage == Stage.TRAIN and reason == Reason.RUNNING
    draft.say(
        JobState.TRAINING if training else STAGE_STATES[stage], reason, message or f"{stage} runs as Job {job.name}"
    )


def _reason(pods: Sequence[PodFacts], wanted: int, job: JobFacts) -> tuple[str, str]:
    if not pods:
        hint = f"kubectl describe job {job.name} shows why if this lasts"
        return Reason.WAITING_FOR_POD, f"Job {job.name} has no pod yet; {hint}"
    for pod in pods:
        if pod.unschedulable:
            waits = volumes.unbound(pod) or volumes.missing(pod)
            reason = FailureCode.VOLUME_NOT_BOUND if waits else FailureCode.UNSCHEDULABLE
            return reason, f"pod {pod.name} waits for a node: {pod.unschedulable}"
    for pod in pods:
        if pod.waiting_reason in _PULL_TROUBLE | _HOPELESS_IMAGE:
            return FailureCode.IMAGE_PULL, _waiting(pod)
    for pod in pods:
        if pod.waiting_reason:
            return Reason.WAITING_FOR_POD, _waiting(pod)
    running = sum(pod.running or pod.terminated is not None for pod in pods)
    if running < wanted:
        peers = running > 0
        return (Reason.WAITING_FOR_PEERS if peers else Reason.WAITING_FOR_POD), f"{running} of {wanted} pods run"
    return Reason.RUNNING, ""


def _waiting(pod: PodFacts) -> str:
    detail = f": {pod.waiting_message}" if pod.waiting_message else ""
    return f"pod {pod.name} waits: {pod.waiting_reason}{detail}"


def _fail_if_hopeless(draft: Draft, stage: Stage, pod: PodFacts) -> bool:
    if volumes.fail_if_missing(draft, stage, pod):
        return True
    trouble = pod.waiting_reason
    if trouble not in _PULL_TROUBLE | _HOPELESS_IMAGE | _CONTAINER_TROUBLE:
        return False
    waited = draft.now - (pod.scheduled_at or draft.now)
    if trouble not in _HOPELESS_IMAGE and waited < PATIENCE:
        draft.requeue((PATIENCE - waited).total_seconds() + 1)
        return False
    code = FailureCode.INTERNAL_ERROR if trouble in _CONTAINER_TROUBLE else FailureCode.IMAGE_PULL
    ending.fail(draft, stage, code, _waiting(pod), evidence=f"pod {pod.name}")
    return True
