"""Conditions: the truth about a job. Every type is present from the first status on, Unknown until it is decided."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from vernacular.api.base import ApiModel, Checked, Text, Timestamp, at_most


class ConditionType(StrEnum):
    """What can be true of a job, in the order of its life. Complete and Failed are terminal: they never flip back."""

    ACCEPTED = "Accepted"
    PREPARED = "Prepared"
    TRAINED = "Trained"
    EVALUATED = "Evaluated"
    PUBLISHED = "Published"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


class ConditionStatus(StrEnum):
    """Kubernetes' three values of truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Reasons of conditions, stages and status.reason that are no failures; a failure's code is a reason as well."""

    NOT_STARTED = "NotStarted"
    ACCEPTED = "Accepted"
    WAITING_FOR_RUNTIME = "WaitingForRuntime"
    WAITING_FOR_TRACKING = "WaitingForTracking"
    WAITING_FOR_DELETION = "WaitingForDeletion"
    WAITING_FOR_POD = "WaitingForPod"
    WAITING_FOR_PEERS = "WaitingForPeers"
    CREATION_REFUSED = "CreationRefused"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    STARTING = "Starting"
    RUNNING = "Running"
    DOWNLOADING = "Downloading"
    CHECKING_DATA = "CheckingData"
    TOKENISING = "Tokenising"
    LOADING_MODEL = "LoadingModel"
    TRAINING = "Training"
    SAVING = "Saving"
    EVALUATING = "Evaluating"
    PUBLISHING = "Publishing"
    RETRYING = "Retrying"
    PREEMPTED = "Preempted"
    REPAIRED = "Repaired"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    STAGE_SUCCEEDED = "StageSucceeded"
    JOB_SUCCEEDED = "JobSucceeded"
    JOB_FAILED = "JobFailed"
    NOT_FINISHED = "NotFinished"


ReasonWord = Annotated[
    str,
    *at_most(128),
    Checked(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", "must be one word in CamelCase"),
]


class Condition(ApiModel):
    """One condition; fields as in metav1.Condition."""

    type: ConditionType = Field(description="What this condition is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: ReasonWord = Field(description="Why, in one word.")
    message: Text = Field(default="", description="Why, in a sentence.")
    observed_generation: int = Field(default=0, ge=0, description="The generation of the spec that was judged.")
    last_transition_time: Timestamp = Field(description="When `status` last changed.")
