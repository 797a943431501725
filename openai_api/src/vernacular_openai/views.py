"""FineTuneJobs as the OpenAI API shows them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from vernacular.api.conditions import ConditionType
from vernacular.api.failures import FailureCode
from vernacular.api.status import FineTuneJobStatus, JobState, Stage, StageState
from vernacular_openai.requests import JOB_PREFIX, Asked, hyperparameters
from vernacular_openai.schemas import DpoHyperparameters, Event, FineTuningJob, Hyperparameters, JobError, Model, Status

Json = dict[str, Any]

_STATUSES: dict[JobState | None, Status] = {
    None: "validating_files",
    JobState.PENDING: "validating_files",
    JobState.PREPARING: "validating_files",
    JobState.QUEUED: "queued",
    JobState.STARTING: "queued",
    # the OpenAI API has no word of its own for a job that is paused
    JobState.SUSPENDED: "queued",
    JobState.TRAINING: "running",
    JobState.EVALUATING: "running",
    JobState.PUBLISHING: "running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
}
Level = Literal["info", "warn", "error"]
Told = tuple[int, Level, str, Json]

_MODEL_CODES = ("Model", "ChatTemplate")
_DATA_CODES = ("Dataset", "NoTrainable", "SourceNotAllowed", "SourceUnavailable")
_PLANNED = {"n_epochs": "epochs", "batch_size": "effectiveBatchSize"}


def status_of(document: Mapping[str, Any]) -> FineTuneJobStatus:
    """What the operator reports of a job."""
    return FineTuneJobStatus.model_validate(document.get("status") or {})


def job_view(document: Mapping[str, Any], asked: Asked) -> FineTuningJob:
    """One job. `asked` is what it was made from."""
    metadata, status = document["metadata"], status_of(document)
    state = _state(document, status)
    method = {"type": asked.method.type, asked.method.type: {"hyperparameters": _resolved(asked, status)}}
    return FineTuningJob(
        id=metadata["name"],
        created_at=_seconds(metadata["creationTimestamp"]),
        error=_error(asked, status) if state == "failed" else None,
        fine_tuned_model=model_id(document, asked) if state == "succeeded" else None,
        finished_at=_seconds(status.completion_time) if status.terminal and status.completion_time else None,
        # as there: of supervised jobs alone
        hyperparameters=_resolved(asked, status) if asked.method.type == "supervised" else {},
        model=asked.model,
        organization_id=metadata["namespace"],
        result_files=[],
        seed=asked.seed,
        status=state,
        trained_tokens=_trained_tokens(status) if state == "succeeded" else None,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        estimated_finish=_estimated_finish(status) if state == "running" else None,
        integrations=[],
        metadata=asked.metadata,
        method=method,
    )


def model_id(document: Mapping[str, Any], asked: Asked) -> str:
    """Name of the result: base model, namespace, suffix and job."""
    metadata = document["metadata"]
    return f"ft:{asked.model}:{metadata['namespace']}:{asked.suffix or ''}:{metadata['name'].removeprefix(JOB_PREFIX)}"


def model_view(document: Mapping[str, Any], asked: Asked) -> Model | None:
    """The result of a job, and where MLflow has it; None while there is none."""
    status = status_of(document)
    if _state(document, status) != "succeeded":
        return None
    found = status.mlflow
    return Model(
        id=model_id(document, asked),
        created=_seconds(status.completion_time or document["metadata"]["creationTimestamp"]),
        owned_by=document["metadata"]["namespace"],
        job=document["metadata"]["name"],
        registered_model=found.registered_model if found else None,
        version=found.model_version if found else None,
        artifact_uri=found.artifact_uri if found else None,
    )


def ended(document: Mapping[str, Any]) -> bool:
    """Whether nothing can change the job any more: it has ended, or is told to."""
    return status_of(document).terminal or _told_to_end(document)


def events(document: Mapping[str, Any]) -> list[Event]:
    """What happened, the newest first, as far as the status of the job remembers it."""
    metadata, status = document["metadata"], status_of(document)
    name = metadata["name"]
    story: list[Told] = [(_seconds(metadata["creationTimestamp"]), "info", f"Created fine-tuning job: {name}", {})]
    story += _stages(status)
    story += _ends(document, status)
    told = [
        Event(id=_event_id(name, message), created_at=when, level=level, message=message, type="message", data=data)
        for when, level, message, data in story
    ]
    return sorted([*told, *_metrics(name, status)], key=lambda event: event.created_at)[::-1]


def _state(document: Mapping[str, Any], status: FineTuneJobStatus) -> Status:
    if _told_to_end(document) and status.state != JobState.SUCCEEDED:
        code = status.failure.code if status.failure else FailureCode.DEADLINE_EXCEEDED
        return "cancelled" if code == FailureCode.DEADLINE_EXCEEDED else "failed"
    return _STATUSES[status.state]


def _told_to_end(document: Mapping[str, Any]) -> bool:
    return (document["spec"].get("runPolicy") or {}).get("activeDeadlineSeconds") == 0


def _error(asked: Asked, status: FineTuneJobStatus) -> JobError:
    failure = status.failure
    if failure is None:
        return JobError(code=str(status.reason or FailureCode.INTERNAL_ERROR), message=status.message or "", param=None)
    message = " ".join(part.rstrip(".") + "." for part in (failure.message, failure.advice) if part)
    return JobError(code=failure.code, message=message, param=_param(failure.code, message + failure.evidence, asked))


def _param(code: str, said: str, asked: Asked) -> str | None:
    if code.startswith(_MODEL_CODES):
        return "model"
    if code.startswith(_DATA_CODES):
        return "validation_file" if asked.validation_file and asked.validation_file in said else "training_file"
    return None


def _resolved(asked: Asked, status: FineTuneJobStatus) -> Json:
    """Hyperparameters as they were asked for, and what was chosen where they were left open."""
    found = hyperparameters(asked.method)
    values = _plan(status)
    shown: Json = {
        name: int(float(values[_PLANNED[name]])) if given == "auto" and _PLANNED[name] in values else given
        for name, given in (("n_epochs", found.n_epochs), ("batch_size", found.batch_size))
    }
    shown["learning_rate_multiplier"] = _chosen(found, values)
    if isinstance(found, DpoHyperparameters):
        shown["beta"] = float(values["beta"]) if found.beta == "auto" and "beta" in values else found.beta
    return shown


def _chosen(found: Hyperparameters, values: Mapping[str, str]) -> Any:
    given = found.learning_rate_multiplier
    return 1.0 if given == "auto" and "learningRate" in values else given


def _plan(status: FineTuneJobStatus) -> dict[str, str]:
    return {item.name: item.value for item in status.plan.values} if status.plan else {}


def _trained_tokens(status: FineTuneJobStatus) -> int | None:
    """Tokens of the training rows times the passes over them that were made."""
    epochs = _plan(status).get("epochs")
    if not (status.dataset and epochs):
        return None
    progress = status.progress
    share = progress.step / progress.total_steps if progress and progress.step and progress.total_steps else 1.0
    return round(status.dataset.tokens * float(epochs) * min(share, 1.0))


def _estimated_finish(status: FineTuneJobStatus) -> int | None:
    progress = status.progress
    if not progress or progress.eta_seconds is None or not progress.reported_at:
        return None
    return _seconds(progress.reported_at) + progress.eta_seconds


def _stages(status: FineTuneJobStatus) -> Iterator[Told]:
    for stage in status.stages:
        if stage.start_time:
            yield _seconds(stage.start_time), "info", f"{stage.name} started.", {}
        if stage.completion_time and stage.state == StageState.SUCCEEDED:
            yield _seconds(stage.completion_time), "info", f"{stage.name} succeeded.", {"attempts": stage.attempt}
            if stage.name == Stage.PREPARE:
                yield from _problems(status, _seconds(stage.completion_time))


def _problems(status: FineTuneJobStatus, when: int) -> Iterator[Told]:
    for problem in status.dataset.problems if status.dataset else ():
        if problem.severity != "Info":
            message = f"{problem.code} in {problem.count} rows. {problem.advice}".strip()
            yield when, "warn", message, {"code": problem.code, "first_rows": [*problem.first_rows]}


def _ends(document: Mapping[str, Any], status: FineTuneJobStatus) -> Iterator[Told]:
    for condition in status.conditions:
        if condition.status != "True":
            continue
        when = _seconds(condition.last_transition_time)
        match condition.type:
            case ConditionType.SUSPENDED:
                yield when, "info", "The job is paused.", {}
            case ConditionType.COMPLETE:
                verdict = status.evaluation.summary if status.evaluation else ""
                yield when, "info", f"The job has successfully completed. {verdict}".strip(), {}
            case ConditionType.FAILED if _state(document, status) == "cancelled":
                yield when, "info", "The job was cancelled.", {}
            case ConditionType.FAILED:
                failure = status.failure
                message = f"{failure.message} {failure.advice}".strip() if failure else condition.message
                yield when, "error", message, {"code": str(condition.reason)}
            case _:
                pass


def _metrics(name: str, status: FineTuneJobStatus) -> Iterator[Event]:
    """The newest ones; MLflow has all."""
    progress = status.progress
    if progress and progress.reported_at and progress.step:
        data: Json = {"step": progress.step, "total_steps": progress.total_steps}
        losses = {"train_loss": progress.loss, "valid_loss": progress.eval_loss}
        data |= {key: float(value) for key, value in losses.items() if value is not None}
        message = f"Step {progress.step}/{progress.total_steps}"
        if progress.loss is not None:
            message += f": training loss={progress.loss}"
        yield Event(
            id=_event_id(name, message), created_at=_seconds(progress.reported_at), level="info", message=message,
            type="metrics", data=data,
        )  # fmt: skip


def _event_id(name: str, message: str) -> str:
    return f"ftevent-{hashlib.sha256(f'{name} {message}'.encode()).hexdigest()[:24]}"


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())
