"""Suspension: the attempt's Job goes, what was learned stays; going on is a new attempt."""

from __future__ import annotations

from datetime import datetime

from vernacular.api import ConditionStatus, ConditionType, JobState, Reason, Stage
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.policies import stopping

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


def hold(draft: Draft, stage: Stage) -> None:
    """Nothing starts while the job is suspended, and it is only suspended once nothing runs any more.

    A checkpoint that a stopped attempt saved is noted.
    """
    stopping.note_saved(draft, stage)
    if leftovers := draft.world.leftovers():
        message = stopping.say_ending(draft, stage, leftovers[0], "The job is being suspended")
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.FALSE, Reason.WAITING_FOR_DELETION, message)
    else:
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.TRUE, Reason.SUSPENDED, _MESSAGE)
        draft.say(JobState.SUSPENDED, Reason.SUSPENDED, _MESSAGE)
