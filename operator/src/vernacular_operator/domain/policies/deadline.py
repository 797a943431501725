"""How long a job may be active, all attempts together; the time while it is suspended does not count."""

from __future__ import annotations

from datetime import datetime

from vernacular.api import ConditionType, FailureCode, Stage, StageState
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import ending


def apply(draft: Draft) -> None:
    """Fail the job once its time is over; its pods get SIGTERM and save what they have."""
    limit = draft.world.job.spec.run_policy.active_deadline_seconds
    if no_time_at_all(draft) and draft.status.start_time is None:
        message = "the job was ended before it began: spec.runPolicy.activeDeadlineSeconds is 0"
        ending.fail(draft, None, FailureCode.DEADLINE_EXCEEDED, message)
        return
    if limit is None or draft.status.start_time is None or draft.status.is_true(ConditionType.SUSPENDED):
        return
    since = datetime.fromisoformat(draft.status.start_time)
    active = (draft.now - since).total_seconds() - draft.usage.suspended_seconds
    if active < limit:
        draft.requeue(limit - active)
        return
    message = f"the job was active for {int(active)} s, spec.runPolicy.activeDeadlineSeconds allows {limit}"
    ending.fail(draft, _unfinished(draft), FailureCode.DEADLINE_EXCEEDED, message)


def no_time_at_all(draft: Draft) -> bool:
    """Whether the job has to end wherever it is, whatever it waits for: with a deadline of 0 a person cancels it."""
    policy = draft.world.job.spec.run_policy
    return policy.active_deadline_seconds == 0 and not policy.suspend


def _unfinished(draft: Draft) -> Stage:
    return next(stage for stage in Stage if draft.record(stage).state != StageState.SUCCEEDED)
