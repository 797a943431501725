"""GPU time and what became of it: each second is counted once, in a status write that is made anyway.

What a checkpoint, the result or a finished evaluation holds is productive. GPUs that are held while pods wait for an
image or for each other are waiting; so is what a training that finished spent on loading and saving. What an
interrupted attempt leaves is lost, once the next one begins or the job has failed: until then its last checkpoint may
still be told of. Every figure only grows.
"""

from __future__ import annotations

from datetime import datetime

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


def uncounted_since(draft: Draft, stage: Stage) -> datetime | None:
    """From when on the GPU time of the stage's attempt is not in the usage; None while it holds no GPU."""
    stored, record = draft.world.job.status.stage(stage), draft.record(stage)
    placed = stored.running_since or record.running_since
    if placed is None and stored.attempt < record.attempt:
        # an attempt that began and ended before any status could say so
        pods = draft.world.pods_of(stage, record.attempt)
        placed = min((timestamp(pod.scheduled_at) for pod in pods if pod.scheduled_at), default=None)
    if placed is None:
        return None
    return max(datetime.fromisoformat(moment) for moment in (placed, draft.usage.counted_until) if moment)


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
    since, record, stored = uncounted_since(draft, stage), draft.record(stage), draft.world.job.status.stage(stage)
    if since is None:
        return usage
    ended = record.completion_time if record.state != StageState.RUNNING else None
    until = datetime.fromisoformat(ended or timestamp(draft.now))
    held = draft.gpus(stage) * max(0, int((until - since).total_seconds()))
    if not held:
        return usage
    waited = held if stored.state == StageState.RUNNING and stored.reason in _WAITS else 0
    return evolve(_grown(usage, gpu_seconds=held, waiting_gpu_seconds=waited), counted_until=timestamp(until))


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
