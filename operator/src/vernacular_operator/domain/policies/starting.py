"""The next attempt of a stage: what must be true before it starts, and the children that it needs."""

from __future__ import annotations

from vernacular.api import Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.plan import RunAttempt
from vernacular_operator.domain.policies import budget, retry, running, stopping, suspension, tracking
from vernacular_operator.manifests.claim import workspace_claim
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt
from vernacular_operator.manifests.service import headless_service


def start(draft: Draft, stage: Stage, number: int) -> None:
    """Start an attempt, or say what it waits for."""
    if suspension.wanted(draft):
        suspension.hold(draft, stage)
    elif budget.spent(draft, stage):
        budget.end(draft, stage)
    elif not (_backing_off(draft, stage) or _leftovers(draft, stage) or _untracked(draft, stage)):
        _create(draft, stage, number)


def _backing_off(draft: Draft, stage: Stage) -> bool:
    ready = retry.ready_at(draft, stage)
    if ready is None or draft.now >= ready:
        return False
    record = draft.record(stage)
    draft.say(STAGE_STATES[stage], record.reason or Reason.RETRYING, record.message or "")
    draft.requeue((ready - draft.now).total_seconds())
    return True


def _leftovers(draft: Draft, stage: Stage) -> bool:
    """Two attempts must never run at once."""
    names = draft.world.leftovers()
    if not names:
        return False
    message = f"waits until {names[0]} of an earlier attempt is gone"
    draft.say(STAGE_STATES[stage], Reason.WAITING_FOR_DELETION, message)
    draft.requeue(stopping.LEFTOVER_SECONDS)
    return True


def _untracked(draft: Draft, stage: Stage) -> bool:
    return stage != Stage.PREPARE and tracking.hold(draft, stage)


def _create(draft: Draft, stage: Stage, number: int) -> None:
    job, config = draft.world.job, draft.world.config
    attempt = Attempt(job, stage, number, draft.run_id, draft.world.cluster)
    if stage == Stage.PREPARE and (claim := workspace_claim(job, config)):
        draft.create(claim)
    if attempt.pods > 1:
        draft.create(headless_service(job, number))
    draft.create(stage_job(attempt, config))
    if stage == Stage.TRAIN and number > 1:
        draft.attempt = RunAttempt(draft.run_id, number)
    now, message = timestamp(draft.now), running.no_pod_runs(attempt)
    draft.write(
        stage,
        state=StageState.RUNNING,
        job_name=attempt.name,
        attempt=number,
        start_time=draft.record(stage).start_time or now,
        completion_time=None,
        reason=Reason.WAITING_FOR_POD,
        message=message,
    )
    draft.set(start_time=draft.status.start_time or now)
    draft.say(STAGE_STATES[stage], Reason.WAITING_FOR_POD, message)
