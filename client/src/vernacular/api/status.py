"""The status of a FineTuneJob: what the operator reports. Codes, counts and row numbers, never text of a user's rows.

Texts and lists that are too long are cut when a model is built: the API server never refuses a status for its size,
and the largest one (some 100 kB) stays far below what etcd stores.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from vernacular.api.base import ATOMIC_LIST, BY_NAME, BY_TYPE, ApiModel, Count, Line, Text, Timestamp, at_most
from vernacular.api.conditions import Condition, ConditionStatus, ConditionType, ReasonWord


class Stage(StrEnum):
    """The four stages of a job, in order."""

    PREPARE = "Prepare"
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    PUBLISH = "Publish"


class JobState(StrEnum):
    """The job in one word, for people; computed from the conditions."""

    PENDING = "Pending"
    QUEUED = "Queued"
    PREPARING = "Preparing"
    STARTING = "Starting"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PUBLISHING = "Publishing"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class StageState(StrEnum):
    """Where a stage is. Pending: no attempt runs, at first or between two attempts."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Verdict(StrEnum):
    """What the evaluation says about the tuned model."""

    PROMOTE = "Promote"
    HOLD = "Hold"
    REGRESSED = "Regressed"
    INCONCLUSIVE = "Inconclusive"
    PROMPT_INSTEAD = "PromptInstead"


class PlanValue(ApiModel):
    """One resolved setting."""

    name: Line = Field(description="Name of the setting.")
    value: Line = Field(description="Its value.")
    reason: Line = Field(default="", description="Why it has this value.")


class Plan(ApiModel):
    """The resolved settings of the training."""

    summary: Text = Field(default="", description="The plan in a sentence.")
    values: Annotated[tuple[PlanValue, ...], *at_most(48), ATOMIC_LIST] = Field(
        default=(), description="Every resolved setting with its reason."
    )


class StageStatus(ApiModel):
    """The latest attempt of one stage."""

    name: Stage = Field(description="Prepare, Train, Evaluate or Publish.")
    state: StageState = Field(description="Where the stage is.")
    job_name: Line | None = Field(default=None, description="The Job of the latest attempt.")
    attempt: Count = Field(default=0, description="Number of the latest attempt, from 1; 0: none yet.")
    start_time: Timestamp | None = Field(default=None, description="When the first attempt began.")
    running_since: Timestamp | None = Field(default=None, description="When the running attempt got its nodes.")
    completion_time: Timestamp | None = Field(default=None, description="When the stage ended.")
    reason: ReasonWord | None = Field(default=None, description="Why the stage is where it is, in one word.")
    message: Text | None = Field(default=None, description="The same in a sentence.")


class Progress(ApiModel):
    """How far the training is, as last reported."""

    step: Count = Field(default=0, description="Optimizer steps done.")
    total_steps: Count = Field(default=0, description="Optimizer steps in all; 0: not known yet.")
    percent: int = Field(default=0, ge=0, le=100, description="Steps done in percent.")
    loss: Line | None = Field(default=None, description="Latest training loss, a decimal number.")
    eval_loss: Line | None = Field(default=None, description="Latest loss on held-out rows, a decimal number.")
    tokens_per_second: Count | None = Field(default=None, description="Speed over all ranks.")
    eta_seconds: Count | None = Field(default=None, description="Seconds until training ends, estimated.")
    reported_at: Timestamp | None = Field(default=None, description="When the training reported this.")


class DatasetProblem(ApiModel):
    """One kind of problem in the rows."""

    code: ReasonWord = Field(description="Stable code of the problem; the reference of data problems explains each.")
    severity: Line = Field(
        default="", description="Error: the row cannot be trained on. Warning: look at it. Info: good to know."
    )
    count: Count = Field(description="How many rows have it.")
    first_rows: Annotated[tuple[Line, ...], *at_most(10), ATOMIC_LIST] = Field(
        default=(), description="The first of them: file and line, or sheet and cell."
    )
    advice: Text = Field(default="", description="What to do.")


class ReadinessStatus(ApiModel):
    """Whether fine-tuning fits the data; docs/guide/readiness.md has the rules."""

    verdict: ReasonWord = Field(
        description="Train: it fits. MendFirst: mend the data first. RetrieveFirst, PromptFirst: that may serve better."
    )
    reasons: Annotated[tuple[Line, ...], *at_most(8), ATOMIC_LIST] = Field(default=(), description="Why.")


class DatasetStatus(ApiModel):
    """The rows after checking and splitting."""

    rows: Count = Field(default=0, description="Rows read.")
    dropped: Count = Field(default=0, description="Rows that are not used.")
    duplicates: Count = Field(default=0, description="Rows that say the same as an earlier one.")
    train: Count = Field(default=0, description="Rows trained on.")
    validation: Count = Field(default=0, description="Rows kept back.")
    tokens: Count = Field(default=0, description="Tokens of the training rows, per epoch.")
    digest: Line = Field(default="", description="Digest of all rows read.")
    problems: Annotated[tuple[DatasetProblem, ...], *at_most(32), ATOMIC_LIST] = Field(
        default=(), description="Problems found in rows."
    )
    readiness: ReadinessStatus | None = Field(default=None, description="Whether fine-tuning fits the data.")


class AnswerCounts(ApiModel):
    """How many questions were answered how."""

    correct: Count = Field(description="Right answers.")
    wrong: Count = Field(description="Wrong answers.")
    declined: Count = Field(description="Questions that the model declined to answer.")
    invented: Count = Field(default=0, description="Answers made up for questions that have none.")


class PromptedAnswers(AnswerCounts):
    """What the base model achieves without training, with matching training rows in its prompt."""

    asked: Count = Field(description="How many of the questions were asked so.")
    tuned_correct: Count = Field(description="How many of these the tuned model answers right.")
    tokens_per_request: Count = Field(description="Tokens of such a prompt, on average.")


class GainPoints(ApiModel):
    """Percentage points gained over the base model, with a 95 % interval."""

    value: int = Field(ge=-100, le=100, description="Gain in percentage points.")
    low: int = Field(ge=-100, le=100, description="Lower end of the interval.")
    high: int = Field(ge=-100, le=100, description="Upper end of the interval.")


class EvaluationStatus(ApiModel):
    """Base against tuned model on held-out questions."""

    verdict: Verdict = Field(description="What to make of the tuned model.")
    summary: Text = Field(default="", description="The result in a sentence.")
    base: AnswerCounts = Field(description="The base model's answers.")
    tuned: AnswerCounts = Field(description="The tuned model's answers.")
    gain_points: GainPoints = Field(description="Tuned minus base.")
    prompted: PromptedAnswers | None = Field(
        default=None, description="The base model with training rows in its prompt; absent: not measured."
    )
    general_regression_percent: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="So much less is known about the world than the base knew; absent: not measured.",
    )
    gate_missed: Annotated[tuple[Line, ...], *at_most(8), ATOMIC_LIST] = Field(
        default=(), description="Demands of the gate that were missed."
    )
    weak_topics: Annotated[tuple[Line, ...], *at_most(8), ATOMIC_LIST] = Field(
        default=(), description="Topics of questions that are answered worst."
    )


class CheckpointsStatus(ApiModel):
    """Checkpoints of the training."""

    latest_step: Count = Field(default=0, description="Step of the newest complete checkpoint.")
    complete: Count = Field(default=0, description="Complete checkpoints on the workspace.")
    resumed_from_step: Count = Field(
        default=0, description="Step that the latest attempt went on from; 0: from the start."
    )
    training_seconds: Count = Field(
        default=0, description="Time of training that the newest checkpoint, or the result, holds."
    )
    credited_step: Count = Field(
        default=0, description="Step of the newest checkpoint at the last interruption that cost no restart."
    )


class MLflowStatus(ApiModel):
    """Where the job is recorded."""

    experiment_id: Line | None = Field(default=None, description="Experiment of the run.")
    run_id: Line | None = Field(default=None, description="The run; one for all attempts.")
    url: Text | None = Field(default=None, description="The run in a browser.")
    registered_model: Line | None = Field(default=None, description="Full name of the registered model.")
    model_version: Line | None = Field(default=None, description="Its version that holds the result.")
    alias: Line | None = Field(default=None, description="Alias of that version.")
    promoted_alias: Line | None = Field(default=None, description="Alias that it was promoted to; absent: it was not.")
    replaced_version: Line | None = Field(default=None, description="Version that had that alias before.")
    artifact_uri: Text | None = Field(default=None, description="Where the artifacts of the result are.")


class UsageStatus(ApiModel):
    """What the job used."""

    restarts: Count = Field(default=0, description="Attempts after a failure.")
    preemptions: Count = Field(default=0, description="Attempts after an interruption that cost no restart.")
    repairs: Count = Field(default=0, description="Attempts that were given less memory to need.")
    gpu_seconds: Count = Field(default=0, description="GPUs x seconds of training and evaluation.")
    productive_gpu_seconds: Count = Field(
        default=0, description="Those that a checkpoint, the result or a finished evaluation holds."
    )
    lost_gpu_seconds: Count = Field(
        default=0, description="Those of interrupted attempts that no checkpoint holds: they are spent again."
    )
    waiting_gpu_seconds: Count = Field(
        default=0, description="Those held without training: for images, for other pods, for loading and saving."
    )
    goodput_percent: int | None = Field(
        default=None, ge=0, le=100, description="GPU time that was neither lost nor waited, in percent."
    )
    counted_until: Timestamp | None = Field(default=None, description="GPU time is counted up to this moment.")
    cost: Line | None = Field(default=None, description="What the GPU time cost so far, by the price of the runtime.")
    expected_cost: Line | None = Field(
        default=None, description="What it will have cost when the training ends; absent: the pace is not known."
    )
    currency: Line | None = Field(default=None, description="Currency of the cost.")
    suspended_seconds: Count = Field(default=0, description="How long the job was suspended.")


class FailureStatus(ApiModel):
    """Why the job failed, and what to do."""

    stage: Stage | None = Field(default=None, description="The stage that failed; absent: the job was not accepted.")
    code: ReasonWord = Field(description="Stable code; the failure reference explains each.")
    message: Text = Field(description="What happened.")
    advice: Text = Field(default="", description="What to do.")
    evidence: Text = Field(default="", description="Where it was seen: a file and line, a pod, an exception's type.")


class RuntimeStatus(ApiModel):
    """The FineTuneRuntime as it was when the job was accepted: a later change of it changes nothing here."""

    name: Line = Field(description="Name of the FineTuneRuntime.")
    generation: Count = Field(default=0, description="Its generation then.")
    spec: dict[str, Any] = Field(
        default_factory=dict,
        max_length=16,
        description="Its spec then, which all attempts of this job go by.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class FineTuneJobStatus(ApiModel):
    """What the operator last saw."""

    observed_generation: int = Field(
        default=0, ge=0, description="The generation of the spec that this status is about."
    )
    state: JobState | None = Field(
        default=None, description="The job in one word, for people; conditions are the truth."
    )
    reason: ReasonWord | None = Field(default=None, description="Why the job is in this state, in one word.")
    message: Text | None = Field(default=None, description="The same in a sentence.")
    conditions: Annotated[tuple[Condition, ...], *at_most(16), BY_TYPE] = Field(
        default=(), description="What is true of the job."
    )
    runtime: RuntimeStatus | None = Field(default=None, description="The FineTuneRuntime that the job runs with.")
    plan: Plan | None = Field(default=None, description="The resolved settings of the training.")
    stages: Annotated[tuple[StageStatus, ...], *at_most(4), BY_NAME] = Field(
        default=(), description="The latest attempt of each stage."
    )
    progress: Progress | None = Field(default=None, description="How far the training is, as last reported.")
    dataset: DatasetStatus | None = Field(default=None, description="The rows after checking and splitting.")
    evaluation: EvaluationStatus | None = Field(default=None, description="Base against tuned model.")
    checkpoints: CheckpointsStatus | None = Field(default=None, description="Checkpoints of the training.")
    mlflow: MLflowStatus | None = Field(default=None, description="Where the job is recorded.")
    usage: UsageStatus | None = Field(default=None, description="What the job used.")
    failure: FailureStatus | None = Field(default=None, description="Why the job failed, and what to do.")
    start_time: Timestamp | None = Field(default=None, description="When the first stage began.")
    completion_time: Timestamp | None = Field(default=None, description="When the job ended.")

    @property
    def terminal(self) -> bool:
        """Whether the job has ended, for good."""
        return self.is_true(ConditionType.COMPLETE) or self.is_true(ConditionType.FAILED)

    @property
    def run_id(self) -> str:
        """The job's MLflow run, "" while there is none."""
        return (self.mlflow.run_id if self.mlflow else None) or ""

    @property
    def latest(self) -> StageStatus | None:
        """The stage that was begun last; None before the first."""
        begun = [item for item in self.stages if item.attempt]
        return begun[-1] if begun else None

    def stage(self, name: Stage) -> StageStatus:
        """What is said about a stage: that it waits when nothing is."""
        found = (item for item in self.stages if item.name == name)
        return next(found, None) or StageStatus(name=name, state=StageState.PENDING)

    def is_true(self, kind: ConditionType) -> bool:
        """Whether a condition is True."""
        return any(item.type == kind and item.status == ConditionStatus.TRUE for item in self.conditions)
