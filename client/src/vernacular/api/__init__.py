"""The typed resource: models of FineTuneJob, its names, conditions and failure codes, and the generated CRD."""

from __future__ import annotations

from vernacular.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from vernacular.api.failures import FAILURES, Consequence, FailureCode
from vernacular.api.finetunejob import FineTuneJob, ObjectMeta
from vernacular.api.finetuneruntime import FineTuneRuntime, FineTuneRuntimeSpec
from vernacular.api.spec import FineTuneJobSpec
from vernacular.api.status import FineTuneJobStatus, JobState, Stage, StageState, StageStatus, Verdict

__all__ = [
    "FAILURES",
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "Consequence",
    "FailureCode",
    "FineTuneJob",
    "FineTuneJobSpec",
    "FineTuneJobStatus",
    "FineTuneRuntime",
    "FineTuneRuntimeSpec",
    "JobState",
    "ObjectMeta",
    "Reason",
    "Stage",
    "StageState",
    "StageStatus",
    "Verdict",
]
