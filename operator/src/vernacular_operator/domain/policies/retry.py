"""After an attempt that did not succeed: fail the job, or plan the next attempt within the budget.

Times live in the status, not in memory.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular.api import FailureCode, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular.api.spec import OutOfMemoryPolicy
from vernacular.api.status import CheckpointsStatus
from vernacular_operator.domain.classifier import Cause, Kind
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.policies import ending, repair, results

_FIRST = timedelta(seconds=10)
_LONGEST = timedelta(minutes=5)


def backoff(count: int) -> timedelta:
    """How long to wait after this many failures, at least one."""
    return min(_LONGEST, _FIRST * (1 << min(max(count, 1) - 1, 16)))


def ready_at(draft: Draft, stage: Stage) -> datetime | None:
    """When the next attempt may start; None: at once."""
    record = draft.record(stage)
    counts: dict[str, int] = {Reason.RETRYING: draft.usage.restarts, FailureCode.TRACKING_UNAVAILABLE: record.attempt}
    count = counts.get(record.reason or "")
    if count is None or record.completion_time is None or record.attempt == 0:
        return None
    return datetime.fromisoformat(record.completion_time) + backoff(count)


def after(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    """Account for an attempt that ended without success."""
    if cause.kind is Kind.USER_ERROR:
        user_error(draft, stage, attempt, cause)
        return
    if stage == Stage.TRAIN:
        results.note_checkpoints(draft, cause.report)
    if cause.kind is Kind.OUT_OF_MEMORY and _out_of_memory(draft, stage, attempt, cause):
        return
    if cause.kind is Kind.WAITING:
        _plan_next(draft, stage, attempt, cause, cause.code, "it is tried again")
    elif cause.kind in (Kind.PREEMPTED, Kind.DISRUPTED) and _take_credit(draft, stage):
        draft.set(usage=evolve(draft.usage, preemptions=draft.usage.preemptions + 1))
        _plan_next(draft, stage, attempt, cause, Reason.PREEMPTED, "it goes on from the checkpoint")
    else:
        _restart(draft, stage, attempt, cause)


def user_error(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    """Something that only the user can mend: never retried."""
    draft.write(stage, state=StageState.RUNNING, attempt=attempt)
    results.note(draft, stage, cause.report)
    ending.fail(draft, stage, cause.code, cause.message, advice=cause.advice, evidence=cause.evidence)


def _out_of_memory(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> bool:
    """Repair a training, or fail the job when that is not wanted or not possible; other stages are only retried."""
    if draft.world.job.spec.run_policy.on_out_of_memory == OutOfMemoryPolicy.FAIL:
        _give_up(draft, stage, attempt, cause)
        return True
    if stage != Stage.TRAIN:
        return False
    if (found := repair.possible(draft)) is None:
        _give_up(draft, stage, attempt, cause)
        return True
    change = repair.write(draft, found, attempt, cause.code)
    _plan_next(draft, stage, attempt, cause, Reason.REPAIRED, f"it needs less memory: {change}")
    return True


def _take_credit(draft: Draft, stage: Stage) -> bool:
    """Whether an interruption costs no restart: only one that brought a newer checkpoint, so that there is an end."""
    saved = draft.status.checkpoints or CheckpointsStatus()
    if stage != Stage.TRAIN or saved.latest_step <= saved.credited_step:
        return False
    draft.set(checkpoints=evolve(saved, credited_step=saved.latest_step))
    return True


def _restart(draft: Draft, stage: Stage, attempt: int, cause: Cause) -> None:
    restarts, allowed = draft.usage.restarts, draft.world.job.spec.run_policy.max_restarts
    if restarts >= allowed:
        _give_up(draft, stage, attempt, cause)
        return
    draft.set(usage=evolve(draft.usage, restarts=restarts + 1))
    seconds = round(backoff(restarts + 1).total_seconds())
    detail = f"it is tried again after {seconds} s, restart {restarts + 1} of {allowed}"
    _plan_next(draft, stage, attempt, cause, Reason.RETRYING, detail)


def _plan_next(draft: Draft, stage: Stage, attempt: int, cause: Cause, reason: str, detail: str) -> None:
    job = draft.world.job_of(stage, attempt)
    ended = (job.finished_at if job else None) or draft.now
    message = f"attempt {attempt} ended ({cause.code}: {cause.message}); {detail}"
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
    usage = draft.usage
    code, message = cause.code, cause.message
    if usage.restarts and code == FailureCode.INTERNAL_ERROR:
        code = FailureCode.RESTARTS_EXHAUSTED
    elif code == Reason.PREEMPTED:
        code = FailureCode.RESTARTS_EXHAUSTED
        message = f"{message}; no new checkpoint was saved since the last one"
    tried = [_count(usage.restarts, "restart"), _count(usage.repairs, "repair")]
    if any(tried):
        message = f"{message} (after {' and '.join(filter(None, tried))})"
    draft.write(stage, state=StageState.RUNNING, attempt=attempt)
    ending.fail(draft, stage, code, message, advice=cause.advice, evidence=cause.evidence)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""
