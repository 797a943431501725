"""Suspension: the attempt's Job goes, what was learned stays; going on is a new attempt."""

from __future__ import annotations

from vernacular.api import ConditionStatus, ConditionType, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.evidence import cause_of, has_evidence
from vernacular_operator.domain.policies import results
from vernacular_operator.domain.snapshot import JobFacts

LEFTOVER_SECONDS = 5
_MESSAGE = "The job is suspended; set spec.runPolicy.suspend to false to go on."


def apply(draft: Draft) -> None:
    """A job that goes on is not suspended any more."""
    known = any(item.type == ConditionType.SUSPENDED and item.status != "Unknown" for item in draft.status.conditions)
    if known and not wanted(draft):
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.FALSE, Reason.NOT_SUSPENDED)


def wanted(draft: Draft) -> bool:
    """Whether the user wants the job to stand still."""
    return draft.world.job.spec.run_policy.suspend


def stop(draft: Draft, stage: Stage, attempt: int, job: JobFacts) -> None:
    """End a running attempt; its pods get SIGTERM and save a checkpoint."""
    draft.delete_job(job)
    draft.write(
        stage,
        state=StageState.PENDING,
        attempt=attempt,
        completion_time=timestamp(draft.now),
        reason=Reason.SUSPENDED,
        message=f"attempt {attempt} was stopped",
    )
    hold(draft, stage)


def hold(draft: Draft, stage: Stage) -> None:
    """Nothing starts while the job is suspended, and it is only suspended once nothing runs any more.

    A checkpoint that a stopped attempt saved is noted.
    """
    record = draft.record(stage)
    pods = draft.world.pods_of(stage, record.attempt)
    if stage == Stage.TRAIN and record.reason == Reason.SUSPENDED and has_evidence(pods):
        results.note_checkpoints(draft, cause_of(None, pods).report)
    if leftovers := draft.world.leftovers():
        message = f"The job is being suspended; {leftovers[0]} saves its work and ends."
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.FALSE, Reason.WAITING_FOR_DELETION, message)
        draft.say(draft.status.state or STAGE_STATES[stage], Reason.WAITING_FOR_DELETION, message)
        draft.requeue(LEFTOVER_SECONDS)
    else:
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.TRUE, Reason.SUSPENDED, _MESSAGE)
        draft.say(JobState.SUSPENDED, Reason.SUSPENDED, _MESSAGE)
