"""Failure codes: stable names with a fixed advice each. A code is never renamed and never changes its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class FailureCode(StrEnum):
    """Why a job failed."""

    DATASET_NOT_FOUND = "DatasetNotFound"
    DATASET_UNREADABLE = "DatasetUnreadable"
    DATASET_SCHEMA = "DatasetSchema"
    DATASET_TOO_SMALL = "DatasetTooSmall"
    DATASET_TOO_MANY_BAD_ROWS = "DatasetTooManyBadRows"
    NO_TRAINABLE_TOKENS = "NoTrainableTokens"
    QUESTIONS_UNREADABLE = "QuestionsUnreadable"
    CHAT_TEMPLATE_MISSING = "ChatTemplateMissing"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    MODEL_UNSUPPORTED = "ModelUnsupported"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a failure code, not a secret
    OVERRIDE_NOT_ALLOWED = "OverrideNotAllowed"
    LIMIT_EXCEEDED = "LimitExceeded"
    ARGUMENT_REFUSED = "ArgumentRefused"
    DOES_NOT_FIT = "DoesNotFit"
    GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    DISK_FULL = "DiskFull"
    NON_FINITE_LOSS = "NonFiniteLoss"
    HANG = "Hang"
    RENDEZVOUS_TIMEOUT = "RendezvousTimeout"
    WORLD_SIZE_MISMATCH = "WorldSizeMismatch"
    CHECKPOINT_CORRUPT = "CheckpointCorrupt"
    CHECKPOINT_INCOMPATIBLE = "CheckpointIncompatible"
    STORAGE_NOT_SHARED = "StorageNotShared"
    STORAGE_TOO_SMALL = "StorageTooSmall"
    VOLUME_NOT_BOUND = "VolumeNotBound"
    NAME_CONFLICT = "NameConflict"
    TRACKING_UNAVAILABLE = "TrackingUnavailable"
    TRACKING_ACCESS_DENIED = "TrackingAccessDenied"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    RESTARTS_EXHAUSTED = "RestartsExhausted"
    GATE_FAILED = "GateFailed"
    INTERNAL_ERROR = "InternalError"


ADVICE: Mapping[FailureCode, str] = MappingProxyType(
    {
        FailureCode.DATASET_NOT_FOUND: (
            "Check spec.dataset.train: the ConfigMap and its key, or the claim and the path, must exist in the "
            "job's namespace."
        ),
        FailureCode.DATASET_UNREADABLE: (
            "Write the file as UTF-8 JSONL, one JSON object a line, and mend the line that the message names."
        ),
        FailureCode.DATASET_SCHEMA: (
            'Give every row one of the known shapes, for example {"messages": [{"role": "user", ...}, {"role": '
            '"assistant", ...}]}.'
        ),
        FailureCode.DATASET_TOO_SMALL: "Add rows, or keep fewer back with spec.dataset.validation.splitPercent.",
        FailureCode.DATASET_TOO_MANY_BAD_ROWS: "Mend or remove the rows listed under status.dataset.problems.",
        FailureCode.NO_TRAINABLE_TOKENS: (
            "Give rows an assistant turn with text that fits into spec.training.maxSequenceLength: only answers "
            "are trained."
        ),
        FailureCode.QUESTIONS_UNREADABLE: (
            'Write spec.evaluation.questions as JSONL with one {"question": ..., "expected": ...} a line, and '
            "check its name and key."
        ),
        FailureCode.CHAT_TEMPLATE_MISSING: (
            "Use a model whose tokenizer has a chat template, usually one whose name ends in -Instruct."
        ),
        FailureCode.MODEL_NOT_FOUND: (
            "Check spec.model.uri and revision; on a claim the folder must hold config.json and weights."
        ),
        FailureCode.MODEL_ACCESS_DENIED: (
            "Accept the model's terms on its hub, and name a Secret with HF_TOKEN in spec.model.credentials.secretName."
        ),
        FailureCode.MODEL_UNSUPPORTED: (
            "Use a decoder language model in safetensors format that the trainer image knows."
        ),
        FailureCode.SECRET_MISSING: (
            "Create the Secret in the job's namespace with the key that the message names, or mend the name."
        ),
        FailureCode.OVERRIDE_NOT_ALLOWED: (
            "Remove the field that the message names, or ask the platform team for what the message says; then create "
            "the job again."
        ),
        FailureCode.LIMIT_EXCEEDED: (
            "Ask for less, name a FineTuneRuntime with a higher limit in spec.runtimeRef, or ask the platform team."
        ),
        FailureCode.ARGUMENT_REFUSED: (
            "Mend the value that the message names; status.plan shows what every setting resolves to."
        ),
        FailureCode.DOES_NOT_FIT: (
            "Use LoRA, strategy ZeRO3, more GPUs, a shorter maxSequenceLength or a smaller model."
        ),
        FailureCode.GPU_OUT_OF_MEMORY: (
            "Lower spec.training.microBatchSize or maxSequenceLength, or set spec.compute.strategy to ZeRO2 or ZeRO3."
        ),
        FailureCode.HOST_OUT_OF_MEMORY: (
            "Raise the memory limit of the stage in the operator's configuration, or use fewer processes a pod."
        ),
        FailureCode.DISK_FULL: "Make a new job with a larger spec.storage.workspace.size, or free space on the claim.",
        FailureCode.NON_FINITE_LOSS: (
            "Lower spec.training.learningRate, or set precision to FP32 to see whether the number format is the cause."
        ),
        FailureCode.HANG: (
            "Look at the pod's log for the last step; a rank that waits for another is often a network or a "
            "storage fault."
        ),
        FailureCode.RENDEZVOUS_TIMEOUT: (
            "Check that all training pods run at the same time and that a NetworkPolicy lets them reach each "
            "other by name."
        ),
        FailureCode.WORLD_SIZE_MISMATCH: (
            "Check that each pod sees as many devices as spec.compute.gpusPerPod asks for."
        ),
        FailureCode.CHECKPOINT_CORRUPT: (
            "Delete this job and create it again; it then trains from the start. Check the volume for faults."
        ),
        FailureCode.CHECKPOINT_INCOMPATIBLE: (
            "Create a job with another name: these checkpoints belong to other settings."
        ),
        FailureCode.STORAGE_NOT_SHARED: (
            "Set spec.storage.workspace.accessMode to ReadWriteMany with a class that offers it, or "
            "spec.compute.pods to 1."
        ),
        FailureCode.STORAGE_TOO_SMALL: "Set spec.storage.workspace.size to at least what the message names.",
        FailureCode.VOLUME_NOT_BOUND: (
            "Look at the claim's events: its StorageClass must exist and be able to make such a volume."
        ),
        FailureCode.NAME_CONFLICT: "Rename this job, or delete the object that the message names.",
        FailureCode.TRACKING_UNAVAILABLE: (
            "Check that the MLflow server runs and that pods of this namespace can reach it."
        ),
        FailureCode.TRACKING_ACCESS_DENIED: (
            "Name a Secret with write access in spec.tracking.mlflow.credentialsSecretName, or have the right "
            "granted in MLflow."
        ),
        FailureCode.IMAGE_PULL: "Check the image name and the pull secrets in the operator's configuration.",
        FailureCode.UNSCHEDULABLE: (
            "Ask for less in spec.compute, or wait for or add nodes with the resource that the message names."
        ),
        FailureCode.NODE_LOST: (
            "Nothing in the job is wrong: look at the node that the message names, then create the job again."
        ),
        FailureCode.EVICTED: (
            "The node ran short of a resource: see the message, and raise the stage's requests in the operator's "
            "configuration."
        ),
        FailureCode.DEADLINE_EXCEEDED: "Allow more time, or train fewer steps.",
        FailureCode.BUDGET_EXCEEDED: "Allow more GPU hours, or train fewer steps.",
        FailureCode.RESTARTS_EXHAUSTED: (
            "See the failures of the attempts in the job's events; raise spec.runPolicy.maxRestarts if they were "
            "passing ones."
        ),
        FailureCode.GATE_FAILED: (
            "Look at the answers in the evaluation report, and add rows for what the model got wrong."
        ),
        FailureCode.INTERNAL_ERROR: (
            "Look at the log of the pod that the message names, and report it: this is a fault of Vernacular or "
            "its environment."
        ),
    }
)
