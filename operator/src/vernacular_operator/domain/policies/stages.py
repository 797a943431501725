"""The four stages in order: each is taken as far as the world allows, the next one begins where one has succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.api import FailureCode, Reason, Stage, StageState
from vernacular_operator.domain.classifier import Kind, cause_of
from vernacular_operator.domain.draft import STAGE_STATES, Draft
from vernacular_operator.domain.policies import (
    budget,
    ending,
    gate,
    results,
    retry,
    running,
    starting,
    stopping,
    suspension,
)
from vernacular_operator.domain.reports import has_evidence
from vernacular_operator.domain.snapshot import PodFacts


def apply(draft: Draft) -> None:
    """Take the first unfinished stage further; complete the job after the last."""
    for stage in Stage:
        if draft.record(stage).state != StageState.SUCCEEDED and not _advance(draft, stage):
            return
    if missed := gate.missed(draft):
        ending.fail_after_publishing(draft, FailureCode.GATE_FAILED, missed)
    else:
        ending.complete(draft)


def _advance(draft: Draft, stage: Stage) -> bool:
    """True when the stage has succeeded now."""
    world, record = draft.world, draft.record(stage)
    attempt = max(record.attempt, world.latest_attempt(stage))
    job = world.job_of(stage, attempt)
    if job and job.complete:
        results.succeed(draft, stage, attempt)
        return True
    accounted = record.state == StageState.PENDING and record.attempt == attempt
    if accounted:
        starting.start(draft, stage, attempt + 1)
    elif job is None and _stopped_unnoted(draft, stage, attempt):
        stopping.note_stopped(draft, stage, attempt, Reason.SUSPENDED)
        suspension.hold(draft, stage)
    elif job is None and (alive := [pod for pod in world.pods_of(stage, attempt) if pod.live]):
        _await_end(draft, stage, alive)
    elif job is None or job.failed:
        retry.after(draft, stage, attempt, cause_of(job, world.pods_of(stage, attempt)))
        _say_next(draft, stage)
    elif job.failing:
        _fail_early(draft, stage, attempt)
    elif suspension.wanted(draft):
        stopping.stop(draft, stage, attempt, job, Reason.SUSPENDED)
        suspension.hold(draft, stage)
    elif budget.spent(draft, stage):
        stopping.stop(draft, stage, attempt, job, FailureCode.BUDGET_EXCEEDED)
        budget.end(draft, stage)
    else:
        running.explain(draft, stage, attempt, job)
    return False


def _stopped_unnoted(draft: Draft, stage: Stage, attempt: int) -> bool:
    """Whether the Job may be gone because the job is being suspended: an operator that is killed has deleted it and not
    said so.
    """
    if not suspension.wanted(draft):
        return False
    return cause_of(None, draft.world.pods_of(stage, attempt)).kind is not Kind.USER_ERROR


def _await_end(draft: Draft, stage: Stage, pods: Sequence[PodFacts]) -> None:
    """Somebody deleted the Job: what its pods still report decides whether that cost anything.

    The garbage collector ends them, unless the Job was deleted without them. A pod that still names its Job as owner is
    left alone: were the Job only unseen, ending it would cost a training.
    """
    for pod in pods:
        if pod.orphaned and pod.deletion_time is None:
            draft.stop_pod(pod)
    stopping.say_ending(draft, stage, pods[0].name, "The attempt was ended from outside")


def _say_next(draft: Draft, stage: Stage) -> None:
    """An attempt was accounted for: the status is written first, the next attempt starts from what is stored."""
    if draft.settled:
        return
    record = draft.record(stage)
    if suspension.wanted(draft):
        suspension.hold(draft, stage)
    else:
        draft.say(STAGE_STATES[stage], record.reason or Reason.RETRYING, record.message or "")
    ready = retry.ready_at(draft, stage)
    draft.requeue((ready - draft.now).total_seconds() if ready else 0)


def _fail_early(draft: Draft, stage: Stage, attempt: int) -> None:
    """The Job is going to fail, its pods are still ending: a user's error is told at once, anything else explained."""
    pods = draft.world.pods_of(stage, attempt)
    if not has_evidence(pods):
        return
    cause = cause_of(draft.world.job_of(stage, attempt), pods)
    if cause.kind is Kind.USER_ERROR:
        retry.user_error(draft, stage, attempt, cause)
        return
    message = f"attempt {attempt} is ending: {cause.message}"
    draft.write(stage, state=StageState.RUNNING, attempt=attempt, reason=cause.code, message=message)
    draft.say(STAGE_STATES[stage], cause.code, message)
