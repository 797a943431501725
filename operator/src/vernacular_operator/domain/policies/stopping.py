"""Stopping an attempt, for a suspension or because the GPU hours are spent: its pods save their work first."""

from __future__ import annotations

from vernacular.api import FailureCode, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular_operator.domain.classifier import cause_of
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.policies import results
from vernacular_operator.domain.reports import has_evidence
from vernacular_operator.domain.snapshot import JobFacts

LEFTOVER_SECONDS = 5
_STOPPED = frozenset({Reason.SUSPENDED, FailureCode.BUDGET_EXCEEDED})


def stop(draft: Draft, stage: Stage, attempt: int, job: JobFacts, reason: str) -> None:
    """End a running attempt; its pods get SIGTERM and save a checkpoint."""
    draft.delete_job(job)
    note_stopped(draft, stage, attempt, reason)


def note_stopped(draft: Draft, stage: Stage, attempt: int, reason: str) -> None:
    """Note that an attempt was ended on purpose: it costs nothing, and going on is a new attempt."""
    draft.write(
        stage,
        state=StageState.PENDING,
        attempt=attempt,
        completion_time=timestamp(draft.now),
        reason=reason,
        message=f"attempt {attempt} was stopped",
    )


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
