"""GPU hours that a job may use: training saves a checkpoint and the job ends when they are spent."""

from __future__ import annotations

from vernacular.api import FailureCode, Stage
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import ending, stopping, usage
from vernacular_operator.manifests.runtime import gpu_hours

_HOUR = 3600


def spent(draft: Draft, stage: Stage) -> bool:
    """Whether the stage may hold its GPUs no longer; otherwise looks again when that may be so."""
    limit = gpu_hours(draft.world.job)
    gpus = draft.gpus(stage)
    if limit is None or not gpus:
        return False
    left = limit[0] * _HOUR - draft.usage.gpu_seconds
    if held := usage.uncounted(draft, stage):
        left -= round(gpus * held.seconds)
        draft.requeue(max(1.0, left / gpus))
    return left <= 0


def end(draft: Draft, stage: Stage) -> None:
    """Fail the job once nothing of it runs any more."""
    if leftovers := draft.world.leftovers():
        stopping.say_ending(draft, stage, leftovers[0], "The GPU hours are spent")
        return
    stopping.note_saved(draft, stage)
    allowed, who = gpu_hours(draft.world.job) or (0, "")
    used = draft.usage.gpu_seconds / _HOUR
    step = draft.status.checkpoints.latest_step if draft.status.checkpoints else 0
    message = f"{used:.1f} GPU hours are used, {who} allows {allowed}"
    kept = f"; the newest checkpoint is of step {step}" if step else ""
    ending.fail(draft, stage, FailureCode.BUDGET_EXCEEDED, message + kept)
