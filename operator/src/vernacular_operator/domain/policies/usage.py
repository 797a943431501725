"""GPU time and what became of it: each second is counted once, in a status write that is made anyway.

What a checkpoint, the result or a finished evaluation holds is productive. GPUs that are held while pods wait for an
image or for each other are waiting; so is what a training that finished spent on loading and saving. What an
interrupted attempt leaves is lost, once the next one begins or the job has failed: until then its last checkpoint may
still be told of. An attempt that a queue holds back holds no GPU. Every figure only grows.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from vernacular.api import FailureCode, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular.api.status import CheckpointsStatus, FineTuneJobStatus, UsageStatus
from vernacular_operator.domain.cost import priced
from vernacular_operator.domain.draft import Draft, evolve

_WAITS = frozenset(
    {
        Reason.WAITING_FOR_POD,
        Reason.WAITING_FOR_PEERS,
        Reason.STARTING,
        FailureCode.UNSCHEDULABLE,
        FailureCode.VOLUME_NOT_BOUND,
        FailureCode.IMAGE_PULL,
    }
)


def apply(draft: Draft) -> None:
    """Bring the usage up to date, if there is something to write."""
    if not draft.gpus(Stage.TRAIN) or draft.status == draft.world.job.status:
        return
    usage = draft.usage
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        if draft.record(stage).attempt:
            usage = _counted(draft, stage, usage)
    if usage != UsageStatus():
        draft.set(usage=priced(draft.status, usage, draft.gpus(Stage.TRAIN)))


class Held(NamedTuple):
    """A time for which an attempt held its GPUs; `until` is never before `since`."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """How long that was."""
        return (self.until - self.since).total_seconds()


def uncounted(draft: Draft, stage: Stage) -> Held | None:
    """For how long the stage's attempt held GPUs that are not in the usage; None while it holds none."""
    stored, record = draft.world.job.status.stage(stage), draft.record(stage)
    placed = stored.running_since or record.running_since or _placed_unseen(draft, stage)
    if placed is None:
        return None
    since = max(datetime.fromisoformat(moment) for moment in (placed, draft.usage.counted_until) if moment)
    if record.state != StageState.RUNNING and record.completion_time:
        until = datetime.fromisoformat(record.completion_time)
    else:
        until = _left_for_queue(draft, stage) or draft.now
    return Held(since, max(since, until))


def _placed_unseen(draft: Draft, stage: Stage) -> str | None:
    """When an attempt got its nodes of which no status tells that it has any: the operator was away, or not so fast."""
    stored, record = draft.world.job.status.stage(stage), draft.record(stage)
    same = stored.attempt == record.attempt
    if same and stored.state != StageState.RUNNING:
        return None
    # what the pods of an earlier admission by a queue held is counted
    counted = draft.usage.counted_until if same else None
    pods = draft.world.pods_of(stage, record.attempt)
    moments = [timestamp(pod.scheduled_at) for pod in pods if pod.scheduled_at]
    return min((moment for moment in moments if moment >= (counted or "")), default=None)


def _left_for_queue(draft: Draft, stage: Stage) -> datetime | None:
    """When the pods of an attempt that a queue holds back were gone, as far as they told."""
    attempt = draft.record(stage).attempt
    queued = draft.world.queued(stage, attempt)
    if queued is None or queued.suspended_at is None:
        return None
    ends = (pod.terminated.finished_at for pod in draft.world.pods_of(stage, attempt) if pod.terminated)
    return max((queued.suspended_at, *ends))


def _counted(draft: Draft, stage: Stage, usage: UsageStatus) -> UsageStatus:
    stored, record = draft.world.job.status.stage(stage), draft.record(stage)
    if 0 < stored.attempt < record.attempt:
        usage = _grown(usage, lost_gpu_seconds=_open(usage))
    usage = _held(draft, stage, usage)
    if stage == Stage.TRAIN:
        usage = _grown(usage, productive_gpu_seconds=min(_open(usage), _newly_saved(draft, usage)))
    if record.state == StageState.SUCCEEDED != stored.state:
        finishing = stage == Stage.TRAIN and _checkpoints(draft.status).training_seconds > 0
        usage = _grown(usage, **{"waiting_gpu_seconds" if finishing else "productive_gpu_seconds": _open(usage)})
    if record.state == StageState.FAILED:
        usage = _grown(usage, lost_gpu_seconds=_open(usage))
    return usage


def _held(draft: Draft, stage: Stage, usage: UsageStatus) -> UsageStatus:
    """What was held since the last count went by what was told then: a status tells of each new reason."""
    found, stored = uncounted(draft, stage), draft.world.job.status.stage(stage)
    if found is None or not (held := draft.gpus(stage) * int(found.seconds)):
        return usage
    # of what was held unseen nobody knows whether it waited
    waited = held if stored.running_since and stored.reason in _WAITS else 0
    return evolve(_grown(usage, gpu_seconds=held, waiting_gpu_seconds=waited), counted_until=timestamp(found.until))


def _open(usage: UsageStatus) -> int:
    """GPU seconds of which nobody knows yet what becomes of them."""
    return usage.gpu_seconds - usage.productive_gpu_seconds - usage.lost_gpu_seconds - usage.waiting_gpu_seconds


def _newly_saved(draft: Draft, usage: UsageStatus) -> int:
    """GPU seconds of training that a checkpoint, or the result, holds since this write."""
    before, now = _checkpoints(draft.world.job.status), _checkpoints(draft.status)
    if now.training_seconds == 0 and now.latest_step > before.latest_step:
        # a trainer of the user's own tells of checkpoints, and not how long they took
        return _open(usage)
    return draft.gpus(Stage.TRAIN) * (now.training_seconds - before.training_seconds)


def _checkpoints(status: FineTuneJobStatus) -> CheckpointsStatus:
    return status.checkpoints or CheckpointsStatus()


def _grown(usage: UsageStatus, **seconds: int) -> UsageStatus:
    return evolve(usage, **{name: getattr(usage, name) + more for name, more in seconds.items()})
