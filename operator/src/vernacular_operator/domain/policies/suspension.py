"""Suspension: the attempt's Job goes, what was learned stays; going on is a new attempt."""

from __future__ import annotations

from datetime import datetime

from vernacular.api import ConditionStatus, ConditionType, FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.classifier import cause_of
from vernacular_operator.domain.draft import STAGE_STATES, Draft, evolve
from vernacular_operator.domain.policies import results
from vernacular_operator.domain.reports import has_evidence
from vernacular_operator.domain.snapshot import JobFacts

LEFTOVER_SECONDS = 5
_STOPPED = frozenset({Reason.SUSPENDED, FailureCode.BUDGET_EXCEEDED})
_MESSAGE = "The job is suspended; set spec.runPolicy.suspend to false to go on."


def apply(draft: Draft) -> None:
    """A job that goes on is not suspended any more."""
    known = next((item for item in draft.status.conditions if item.type == ConditionType.SUSPENDED), None)
    if known is None or known.status == ConditionStatus.UNKNOWN or wanted(draft):
        return
    if known.status == ConditionStatus.TRUE:
        seconds = (draft.now - datetime.fromisoformat(known.last_transition_time)).total_seconds()
        draft.set(usage=evolve(draft.usage, suspended_seconds=draft.usage.suspended_seconds + max(0, round(seconds))))
        draft.event("Normal", "Resumed", f"The job goes on after {round(seconds)} s of suspension.")
    draft.condition(ConditionType.SUSPENDED, ConditionStatus.FALSE, Reason.NOT_SUSPENDED)


def wanted(draft: Draft) -> bool:
    """Whether the user wants the job to stand still."""
    return draft.world.job.spec.run_policy.suspend


def stop(draft: Draft, stage: Stage, attempt: int, job: JobFacts, reason: str = Reason.SUSPENDED) -> None:
    """End a running attempt; its pods get SIGTERM and save a checkpoint."""
    draft.delete_job(job)
    draft.write(
        stage,
        state=StageState.PENDING,
        attempt=attempt,
        completion_time=timestamp(draft.now),
        reason=reason,
        message=f"attempt {attempt} was stopped",
    )


def hold(draft: Draft, stage: Stage) -> None:
    """Nothing starts while the job is suspended, and it is only suspended once nothing runs any more.

    A checkpoint that a stopped attempt saved is noted.
    """
    note_saved(draft, stage)
    if leftovers := draft.world.leftovers():
        message = say_ending(draft, stage, leftovers[0], "The job is being suspended")
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.FALSE, Reason.WAITING_FOR_DELETION, message)
    else:
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.TRUE, Reason.SUSPENDED, _MESSAGE)
        draft.say(JobState.SUSPENDED, Reason.SUSPENDED, _MESSAGE)


def note_saved(draft: Draft, stage: Stage) -> None:
    """Note the checkpoint that a stopped attempt of training has saved."""
    record = draft.record(stage)
    pods = draft.world.pods_of(stage, record.attempt)
    if stage == Stage.TRAIN and record.reason in _STOPPED and has_evidence(pods):
        results.note_checkpoints(draft, cause_of(None, pods).report)


def say_ending(draft: Draft, stage: Stage, name: str, why: str) -> str:
    """Say that something still runs and ends; returns the message."""
    message = f"{why}; {name} saves its work and ends."
    draft.say(draft.status.state or STAGE_STATES[stage], Reason.WAITING_FOR_DELETION, message)
    draft.requeue(LEFTOVER_SECONDS)
    return message
