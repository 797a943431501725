"""The end of a job: results or failure come with the terminal condition in one status, and nothing keeps running."""

from __future__ import annotations

from datetime import datetime

from vernacular.api import FAILURES, ConditionStatus, ConditionType, FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.base import timestamp
from vernacular.api.status import FailureStatus
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.plan import RunEnd


def complete(draft: Draft) -> None:
    """All stages succeeded."""
    message = "All stages succeeded."
    draft.condition(ConditionType.COMPLETE, ConditionStatus.TRUE, Reason.JOB_SUCCEEDED, message)
    draft.condition(ConditionType.FAILED, ConditionStatus.FALSE, Reason.JOB_SUCCEEDED, message)
    draft.say(JobState.SUCCEEDED, Reason.JOB_SUCCEEDED, _result(draft) or message)
    _end(draft)


def fail(draft: Draft, stage: Stage | None, code: str, message: str, *, advice: str = "", evidence: str = "") -> None:
    """The job failed for good. No stage: it was not accepted. Without `advice` the code's own is given."""
    if stage is not None:
        draft.write(stage, state=StageState.FAILED, completion_time=timestamp(draft.now), reason=code, message=message)
    failure = FailureStatus(stage=stage, code=code, message=message, advice=advice, evidence=evidence)
    _fail(draft, failure)


def fail_after_publishing(draft: Draft, code: FailureCode, message: str) -> None:
    """Every stage did its work, and the job failed all the same for what the evaluation found."""
    _fail(draft, FailureStatus(stage=Stage.EVALUATE, code=code, message=message))


def _fail(draft: Draft, failure: FailureStatus) -> None:
    code, message = failure.code, failure.message
    failure = evolve(failure, advice=failure.advice or FAILURES[FailureCode(code)].advice)
    draft.condition(ConditionType.COMPLETE, ConditionStatus.FALSE, Reason.JOB_FAILED, message)
    draft.condition(ConditionType.FAILED, ConditionStatus.TRUE, code, message)
    draft.set(failure=failure)
    draft.say(JobState.FAILED, code, message)
    for job in draft.world.jobs:
        # a Failed Job stays for its logs; one that could still start must not outlive the verdict
        if job.live and not job.failing:
            draft.delete_job(job)
    _end(draft)


def run_status(succeeded: bool) -> str:
    """How the run of a job that has ended is closed."""
    return "FINISHED" if succeeded else "FAILED"


def close_run(draft: Draft) -> bool:
    """Have the run of a job that ended closed in MLflow, as of then; False when none was ever asked for."""
    if not (draft.run_id or draft.status.start_time) or draft.status.completion_time is None:
        return False
    end_ms = round(datetime.fromisoformat(draft.status.completion_time).timestamp() * 1000)
    status = run_status(draft.status.is_true(ConditionType.COMPLETE))
    draft.end_run = RunEnd(draft.run_id, status, end_ms, draft.world.job.metadata.uid)
    return True


def _end(draft: Draft) -> None:
    draft.set(completion_time=timestamp(draft.now))
    close_run(draft)
    draft.open_run = None
    if (seconds := draft.world.job.spec.run_policy.ttl_seconds_after_finished) is not None:
        draft.requeue(seconds)
    draft.settled = True


def _result(draft: Draft) -> str:
    evaluation, mlflow = draft.status.evaluation, draft.status.mlflow
    version = f"{mlflow.registered_model} version {mlflow.model_version}" if mlflow and mlflow.model_version else ""
    parts = [f"Published as {version}." if version else "", evaluation.summary if evaluation else ""]
    return " ".join(part for part in parts if part)
