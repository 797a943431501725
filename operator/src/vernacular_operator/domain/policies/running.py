"""A running attempt: what it does or waits for, and the waits that can only end badly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from vernacular.api import FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.policies import ending, queueing, volumes
from vernacular_operator.domain.snapshot import JobFacts, PodFacts
from vernacular_operator.manifests.job_config import Attempt

_EVENT_SECONDS = 15
PATIENCE = timedelta(minutes=10)
_PULL_TROUBLE = frozenset({"ErrImagePull", "ImagePullBackOff"})
_HOPELESS_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_CONTAINER_TROUBLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NO_NODE = re.compile(r"0/(\d+) nodes are available: ")
# from the moment that all pods run: what they are doing is told later, and must not take the state back
_ON_NODES = frozenset({Reason.RUNNING, Reason.LOADING_MODEL, Reason.TRAINING, Reason.SAVING, Reason.EVALUATING})


def explain(draft: Draft, stage: Stage, attempt: int, job: JobFacts) -> None:
    """Say what the attempt does or waits for; fail the job when it waits in vain."""
    pods = [pod for pod in draft.world.pods_of(stage, attempt) if not pod.gone]
    record = draft.record(stage)
    draft.write(
        stage,
        state=StageState.RUNNING,
        attempt=attempt,
        job_name=job.name,
        start_time=record.start_time or timestamp(draft.now),
        running_since=None if draft.world.queued(stage, attempt) else _running_since(pods, record.running_since),
        completion_time=None,
    )
    if any(_fail_if_hopeless(draft, stage, pod) for pod in pods):
        return
    reason, message = _reason(draft, Attempt(draft.world.job, stage, attempt), pods, job)
    draft.write(stage, reason=reason, message=message or None)
    draft.say(
        JobState.QUEUED if job.suspended else _state(stage, reason),
        reason,
        message or f"{stage} runs as Job {job.name}",
    )


def no_pod_runs(attempt: Attempt) -> str:
    """The same from the creation of the Job until a pod has more to say: each new wording would be a write."""
    return f"no pod of Job {attempt.name} runs yet; kubectl describe job {attempt.name} shows why if this lasts"


def _state(stage: Stage, reason: str) -> JobState:
    return JobState.TRAINING if stage == Stage.TRAIN and reason in _ON_NODES else STAGE_STATES[stage]


def _running_since(pods: Sequence[PodFacts], known: str | None) -> str | None:
    placed: list[datetime] = [pod.scheduled_at for pod in pods if pod.scheduled_at]
    return known or (timestamp(min(placed)) if placed else None)


def _reason(draft: Draft, attempt: Attempt, pods: Sequence[PodFacts], job: JobFacts) -> tuple[str, str]:
    if job.suspended:
        return queueing.explain(draft, job)
    for wait in (_unplaced, _unpulled, _not_started):
        for pod in pods:
            if found := wait(pod):
                return _with_event(draft, *found)
    running = sum(pod.running or pod.terminated is not None for pod in pods)
    if not running:
        return Reason.WAITING_FOR_POD, no_pod_runs(attempt)
    if running < attempt.pods:
        return Reason.WAITING_FOR_PEERS, f"{running} of {attempt.pods} pods run"
    return _phase(draft, attempt)


def _with_event(draft: Draft, reason: str, message: str) -> tuple[str, str]:
    """What keeps a volume from being made is only told by events, which come later than the wait."""
    if reason != FailureCode.VOLUME_NOT_BOUND:
        return reason, message
    draft.requeue(_EVENT_SECONDS)
    told = draft.world.volume_trouble
    return reason, f"{message}; {told}" if told else message


def _unplaced(pod: PodFacts) -> tuple[str, str] | None:
    if not pod.unschedulable:
        return None
    waits = volumes.unbound(pod) or volumes.missing(pod)
    reason = FailureCode.VOLUME_NOT_BOUND if waits else FailureCode.UNSCHEDULABLE
    return reason, f"pod {pod.name} waits for a node: {readable(pod.unschedulable)}"


def readable(verdict: str) -> str:
    """A scheduler's verdict without what it says about preemption: which resource is short on how many nodes."""
    essence = verdict.split(" preemption:")[0].split(", no new claims")[0].rstrip(". ")
    return _NO_NODE.sub(lambda found: f"none of {found.group(1)} nodes can take it: ", essence)


def _unpulled(pod: PodFacts) -> tuple[str, str] | None:
    if pod.waiting_reason not in _PULL_TROUBLE | _HOPELESS_IMAGE:
        return None
    return FailureCode.IMAGE_PULL, _waiting(pod)


def _not_started(pod: PodFacts) -> tuple[str, str] | None:
    if not pod.waiting_reason:
        return None
    starts = pod.waiting_reason in ("ContainerCreating", "PodInitializing")
    return (Reason.STARTING if starts else Reason.WAITING_FOR_POD), _waiting(pod)


def _phase(draft: Draft, attempt: Attempt) -> tuple[str, str]:
    """What the pods themselves say, as long as it is about this attempt."""
    phase = draft.world.phase
    if phase is None or (str(phase.stage), phase.attempt) != (str(attempt.stage), attempt.number):
        return Reason.RUNNING, ""
    return Reason(phase.phase.value), phase.detail


def _waiting(pod: PodFacts) -> str:
    detail = f": {pod.waiting_message}" if pod.waiting_message else ""
    image = f" for image {pod.image}" if pod.image and pod.image not in detail else ""
    return f"pod {pod.name} waits{image}: {pod.waiting_reason}{detail}"


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
