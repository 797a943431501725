"""After a failed attempt: fail the job, or plan the next attempt within the budget.

Times live in the status, not in memory.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular.api import FailureCode, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.evidence import Cause, Kind
from vernacular_operator.domain.policies import ending, results

_FIRST = timedelta(seconds=10)
_LONGEST = timedelta(minutes=5)
_RECORDED = frozenset({Reason.RETRYING, Reason.PREEMPTED, FailureCode.TRACKING_UNAVAILABLE})


def backoff(attempt: int) -> timedelta:
    """How long to wait after the failure of this attempt."""
    return min(_LONGEST, _FIRST * (1 << min(attempt - 1, 16)))


def ready_at(draft: Draft, stage: Stage) -> datetime | None:
    """When the next attempt may start; None: at once."""
    record = draft.record(stage)
    if record.reason not in _RECORDED or record.completion_time is None or record.attempt == 0:
        return None
    return datetime.fromisoformat(record.completion_time) + backoff(record.attempt)


def after(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    """Account for an attempt that ended without success."""
    if cause.kind is Kind.USER_ERROR:
        user_error(draft, stage, attempt, cause)
        return
    free = _is_free(draft, stage, cause)
    if stage == Stage.TRAIN:
        results.note_checkpoints(draft, cause.report)
    if free:
        _wait(draft, stage, attempt, cause)
        if cause.kind is not Kind.WAITING:
            draft.set(usage=evolve(draft.usage, preemptions=draft.usage.preemptions + 1))
    elif draft.usage.restarts >= draft.world.job.spec.run_policy.max_restarts:
        _give_up(draft, stage, attempt, cause)
    else:
        _wait(draft, stage, attempt, cause)
        draft.set(usage=evolve(draft.usage, restarts=draft.usage.restarts + 1))


def user_error(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    """Something that only the user can mend: never retried."""
    draft.write(stage, state=StageState.RUNNING, attempt=attempt)
    results.note(draft, stage, cause.report)
    ending.fail(draft, stage, cause.code, cause.message, advice=cause.advice, evidence=cause.evidence)


def _is_free(draft: Draft, stage: Stage, cause: Cause) -> bool:
    if cause.kind is Kind.PREEMPTED and stage == Stage.TRAIN:
        # without a new checkpoint a job that is always preempted too early would never end
        return results.new_checkpoint_steps(draft, cause.report) > 0
    return cause.kind is not Kind.FAILED


def _wait(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    job = draft.world.job_of(stage, attempt)
    ended = (job.finished_at if job else None) or draft.now
    seconds = round(backoff(attempt).total_seconds())
    reason: str = Reason.RETRYING if cause.kind is Kind.FAILED else Reason.PREEMPTED
    if cause.kind is Kind.WAITING:
        reason = cause.code
    message = f"attempt {attempt} ended ({cause.code}: {cause.message}); the next one starts {seconds} s after it"
    draft.write(
        stage,
        state=StageState.PENDING,
        attempt=attempt,
        completion_time=timestamp(ended),
        reason=reason,
        message=message,
    )
    draft.event("Warning", cause.code, f"{stage}: {message}")


def _give_up(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    restarts = draft.usage.restarts
    code, message = cause.code, cause.message
    if restarts and code == FailureCode.INTERNAL_ERROR:
        code = FailureCode.RESTARTS_EXHAUSTED
    elif code == Reason.PREEMPTED:
        code = FailureCode.RESTARTS_EXHAUSTED
        message = f"{message}; no new checkpoint was saved since the last one"
    if restarts:
        message = f"{message} (after {restarts} restart{'s' if restarts > 1 else ''})"
    draft.write(stage, state=StageState.RUNNING, attempt=attempt)
    ending.fail(draft, stage, code, message, advice=cause.advice, evidence=cause.evidence)
