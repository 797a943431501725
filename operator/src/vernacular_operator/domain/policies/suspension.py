"""Suspension: the attempt's Job goes, what was learned stays; going on is a new attempt."""

from __future__ import annotations

from vernacular.api import ConditionStatus, ConditionType, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.evidence import cause_of, has_evidence
from vernacular_operator.domain.policies import results
from vernacular_operator.domain.snapshot import JobFacts

_MESSAGE = "The job is suspended; set spec.runPolicy.suspend to false to go on."


def apply(draft: Draft) -> None:
    """Keep the condition true to the spec."""
    suspended = wanted(draft)
    known = any(item.type == ConditionType.SUSPENDED and item.status != "Unknown" for item in draft.status.conditions)
    if suspended:
        draft.condition(ConditionType.SUSPENDED, ConditionStatus.TRUE, Reason.SUSPENDED, _MESSAGE)
    elif known:
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
    """Nothing starts while the job is suspended; a checkpoint that a stopped attempt saved is noted."""
    draft.say(JobState.SUSPENDED, Reason.SUSPENDED, _MESSAGE)
    record = draft.record(stage)
    pods = draft.world.pods_of(stage, record.attempt)
    if stage == Stage.TRAIN and record.reason == Reason.SUSPENDED and has_evidence(pods):
        results.note_checkpoints(draft, cause_of(None, pods).report)
