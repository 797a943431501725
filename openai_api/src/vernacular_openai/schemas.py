"""Bodies of requests and answers, as the OpenAI API has them; what cannot be honoured is not in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Epochs = Annotated[int, Field(strict=True, ge=1, le=1000)]
BatchSize = Annotated[int, Field(strict=True, ge=1, le=65_536)]
Multiplier = Annotated[float, Field(strict=True, gt=0, le=1000, allow_inf_nan=False)]
Beta = Annotated[float, Field(strict=True, gt=0, le=2, allow_inf_nan=False)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
Timestamp = Annotated[int, Field(description="Seconds since 1970.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(_Request):
    """Settings of the training; "auto" or absent: chosen."""

    n_epochs: Auto | Epochs = "auto"
    batch_size: Auto | BatchSize = "auto"
    learning_rate_multiplier: Auto | Multiplier = Field(
        default="auto", description="Times the learning rate that would be chosen."
    )


class DpoHyperparameters(Hyperparameters):
    """The same for pairs of answers."""

    beta: Auto | Beta = "auto"


class Supervised(_Request):
    """Answers to learn."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(_Request):
    """Pairs of answers to choose from."""

    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Method(_Request):
    """How the model learns; only the part that `type` names may be there."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None


class CreateJob(_Request):
    """A fine-tuning job to make."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    training_file: Annotated[str, Field(min_length=1, max_length=64)]
    validation_file: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = Field(default=None, description="Deprecated: write them in method.")
    suffix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")] | None = Field(
        default=None, description="Name of the model in the registry; the namespace is put before it."
    )
    seed: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: Timestamp
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """Some files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class JobError(BaseModel):
    """Why a job failed; `code` is one of docs/reference/failures.md."""

    code: str
    message: str
    param: str | None


Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class FineTuningJob(BaseModel):
    """A job."""

    id: str = Field(description="The name of the FineTuneJob.")
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: Timestamp
    error: JobError | None
    fine_tuned_model: str | None
    finished_at: Timestamp | None
    hyperparameters: dict[str, Any]
    model: str
    organization_id: str = Field(description="The namespace.")
    result_files: list[str]
    seed: int
    status: Status = Field(description="A paused job is queued.")
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    estimated_finish: Timestamp | None
    integrations: list[Any]
    metadata: dict[str, str] | None
    method: dict[str, Any]


class JobList(BaseModel):
    """Some jobs, the newest first."""

    object: Literal["list"] = "list"
    data: list[FineTuningJob]
    has_more: bool


class Event(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: Timestamp
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class EventList(BaseModel):
    """Some events, the newest first."""

    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool


class CheckpointList(BaseModel):
    """Checkpoints that are models of their own: there are none, the result is the one model of a job."""

    object: Literal["list"] = "list"
    data: Annotated[list[Any], Field(max_length=0)]
    first_id: None = None
    last_id: None = None
    has_more: Literal[False] = False


class Model(BaseModel):
    """A model that can be tuned, or the result of a job; of a result also where MLflow has it."""

    id: str
    object: Literal["model"] = "model"
    created: Timestamp
    owned_by: str
    job: str | None = None
    registered_model: str | None = None
    version: str | None = None
    artifact_uri: str | None = None


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The answer to a call that failed."""

    error: ErrorDetail
