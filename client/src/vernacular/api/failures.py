"""Failure codes: stable names with meaning, consequence and advice. A code is never renamed and never changes its
meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class FailureCode(StrEnum):
    """Why a job failed, or what it waits for."""

    DATASET_NOT_FOUND = "DatasetNotFound"
    DATASET_ACCESS_DENIED = "DatasetAccessDenied"
    DATASET_UNREADABLE = "DatasetUnreadable"
    DATASET_SCHEMA = "DatasetSchema"
    DATASET_TOO_SMALL = "DatasetTooSmall"
    DATASET_TOO_MANY_BAD_ROWS = "DatasetTooManyBadRows"
    DATASET_PERSONAL_DATA = "DatasetPersonalData"
    NO_TRAINABLE_TOKENS = "NoTrainableTokens"
    QUESTIONS_UNREADABLE = "QuestionsUnreadable"
    GLOSSARY_UNREADABLE = "GlossaryUnreadable"
    CHAT_TEMPLATE_MISSING = "ChatTemplateMissing"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    MODEL_UNSUPPORTED = "ModelUnsupported"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
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
    CHECKPOINT_INCOMPATIBLE = "CheckpointIncompatible"
    STORAGE_NOT_SHARED = "StorageNotShared"
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


class Consequence(StrEnum):
    """What follows when something with a code has happened."""

    NEVER_RETRIED = "NeverRetried"  # the job fails: only a person can mend it
    RETRIED = "Retried"  # a new attempt, within spec.runPolicy.maxRestarts
    REPAIRED = "Repaired"  # a new attempt that needs less memory; in other stages than training it is retried
    CONTINUED = "Continued"  # a new attempt, which costs no restart while each brings a newer checkpoint
    WAITED_FOR = "WaitedFor"  # the job waits until it is better, and says so


@dataclass(frozen=True)
class Failure:
    """What a code means, what follows, and what a person can do."""

    meaning: str
    consequence: Consequence
    advice: str


FAILURES: Mapping[FailureCode, Failure] = MappingProxyType(
    {
        FailureCode.DATASET_NOT_FOUND: Failure(
            "A training file is missing: no such ConfigMap, key, claim, path, bucket or object.",
            Consequence.NEVER_RETRIED,
            (
                "Check spec.dataset.train: the ConfigMap and its key, or the claim and the path, must exist in the "
                "job's namespace, a bucket and its object at the endpoint."
            ),
        ),
        FailureCode.DATASET_ACCESS_DENIED: Failure(
            "The server of a training file, of the questions or of the glossary does not let this job read it.",
            Consequence.NEVER_RETRIED,
            (
                "Let the identity that the message names read the file, or name a Secret that may in the source's "
                "credentials.secretName."
            ),
        ),
        FailureCode.DATASET_UNREADABLE: Failure(
            "A training file is damaged, of an unknown kind, or no UTF-8 text.",
            Consequence.NEVER_RETRIED,
            "Mend the place that the message names, or save the file again as UTF-8 text, .xlsx or Parquet.",
        ),
        FailureCode.DATASET_SCHEMA: Failure(
            "A row has none of the known shapes, is no JSON, or has no assistant turn.",
            Consequence.NEVER_RETRIED,
            (
                'Give every row one of the known shapes, for example {"messages": [{"role": "user", ...}, {"role": '
                '"assistant", ...}]}.'
            ),
        ),
        FailureCode.DATASET_TOO_SMALL: Failure(
            "Too few usable rows are left.",
            Consequence.NEVER_RETRIED,
            "Add rows, or keep fewer back with spec.dataset.validation.splitPercent.",
        ),
        FailureCode.DATASET_TOO_MANY_BAD_ROWS: Failure(
            "More rows cannot be trained on than spec.dataset.maxBadRowsPercent allows.",
            Consequence.NEVER_RETRIED,
            "Mend the rows that the data report names, or raise spec.dataset.maxBadRowsPercent to train without them.",
        ),
        FailureCode.DATASET_PERSONAL_DATA: Failure(
            "Rows hold personal data or secrets, and spec.dataset.personalData is Fail.",
            Consequence.NEVER_RETRIED,
            "Remove them from the rows that the data report names, or set spec.dataset.personalData to Redact.",
        ),
        FailureCode.NO_TRAINABLE_TOKENS: Failure(
            "No row has an answer that fits into the sequence length.",
            Consequence.NEVER_RETRIED,
            (
                "Give rows an assistant turn with text that fits into spec.training.maxSequenceLength: only answers"
                " are trained."
            ),
        ),
        FailureCode.QUESTIONS_UNREADABLE: Failure(
            "The file of held-out questions is missing or cannot be read.",
            Consequence.NEVER_RETRIED,
            (
                'Write spec.evaluation.questions as JSONL with one {"question": ..., "expected": ...} a line, and '
                "check its name and key."
            ),
        ),
        FailureCode.GLOSSARY_UNREADABLE: Failure(
            "The glossary is missing or cannot be read.",
            Consequence.NEVER_RETRIED,
            (
                "Write spec.evaluation.glossary as YAML with a list of terms, each with term and definition, and "
                "check its name and key."
            ),
        ),
        FailureCode.CHAT_TEMPLATE_MISSING: Failure(
            "The model's tokenizer has no chat template, or the file of spec.dataset.chatTemplate is not there.",
            Consequence.NEVER_RETRIED,
            "Use a model whose tokenizer has a chat template, usually one whose name ends in -Instruct, or name a file"
            " with one in spec.dataset.chatTemplate.",
        ),
        FailureCode.MODEL_NOT_FOUND: Failure(
            "The base model does not exist where the job says.",
            Consequence.NEVER_RETRIED,
            "Check spec.model.uri and revision; on a claim the folder must hold config.json and weights.",
        ),
        FailureCode.MODEL_ACCESS_DENIED: Failure(
            "The hub or the bucket does not let this job read the base model.",
            Consequence.NEVER_RETRIED,
            (
                "Accept the model's terms on its hub, and name a Secret with HF_TOKEN, or for s3:// one with keys that "
                "may read it, in spec.model.credentials.secretName."
            ),
        ),
        FailureCode.MODEL_UNSUPPORTED: Failure(
            "The base model is of a kind, or in a format, that cannot be trained here.",
            Consequence.NEVER_RETRIED,
            "Use a decoder language model in safetensors format that the trainer image knows.",
        ),
        FailureCode.SOURCE_UNAVAILABLE: Failure(
            "The server of a data set or a model cannot be reached, does not answer, or breaks off.",
            Consequence.RETRIED,
            (
                "Check the address that the message names and that prepare pods of this namespace may reach it: "
                "networkPolicy.prepareEgress of the chart."
            ),
        ),
        FailureCode.SOURCE_NOT_ALLOWED: Failure(
            "A file is, or is redirected to, where the platform team does not let jobs read.",
            Consequence.NEVER_RETRIED,
            (
                "Put the file where jobs may read, or ask the platform team for what the message says; then create the"
                " job again."
            ),
        ),
        FailureCode.SECRET_MISSING: Failure(
            "A Secret that the job names is missing, or lacks a key.",
            Consequence.NEVER_RETRIED,
            "Create the Secret in the job's namespace with the key that the message names, or mend the name.",
        ),
        FailureCode.LIMIT_EXCEEDED: Failure(
            "The job asks for more than its FineTuneRuntime allows.",
            Consequence.NEVER_RETRIED,
            "Ask for less, name a FineTuneRuntime with a higher limit in spec.runtimeRef, or ask the platform team.",
        ),
        FailureCode.OVERRIDE_NOT_ALLOWED: Failure(
            "The job changes something of its pods that the platform team does not let jobs change.",
            Consequence.NEVER_RETRIED,
            (
                "Remove the field that the message names, or ask the platform team for what the message says; then "
                "create the job again."
            ),
        ),
        FailureCode.ARGUMENT_REFUSED: Failure(
            "A setting has a value that cannot work together with the data, the model or the devices.",
            Consequence.NEVER_RETRIED,
            "Mend the value that the message names; status.plan shows what every setting resolves to.",
        ),
        FailureCode.DOES_NOT_FIT: Failure(
            "The training needs more memory than its GPUs have; found before a GPU was asked for.",
            Consequence.NEVER_RETRIED,
            "Create the job again with one of the settings that the message names: each of them fits.",
        ),
        FailureCode.GPU_OUT_OF_MEMORY: Failure(
            "A GPU had not enough memory.",
            Consequence.REPAIRED,
            (
                "Lower spec.training.maxSequenceLength, set spec.compute.strategy to ZeRO3 over more GPUs, or take "
                "larger ones."
            ),
        ),
        FailureCode.HOST_OUT_OF_MEMORY: Failure(
            "A pod used more memory than its limit.",
            Consequence.REPAIRED,
            "Raise the memory limit of the stage in the operator's configuration, or use fewer processes a pod.",
        ),
        FailureCode.DISK_FULL: Failure(
            "The workspace is full.",
            Consequence.NEVER_RETRIED,
            "Make a new job with a larger spec.storage.workspace.size, or free space on the claim.",
        ),
        FailureCode.NON_FINITE_LOSS: Failure(
            "The loss or a gradient became infinite or no number; nothing of it was saved.",
            Consequence.RETRIED,
            (
                "Lower spec.training.learningRate, or set precision to FP32 to see whether the number format is the"
                " cause."
            ),
        ),
        FailureCode.HANG: Failure(
            "A process of the training did not move on for too long.",
            Consequence.RETRIED,
            (
                "Look at the pod's log for the last step; a rank that waits for another is often a network or a "
                "storage fault."
            ),
        ),
        FailureCode.RENDEZVOUS_TIMEOUT: Failure(
            "The pods of the training did not find each other in time.",
            Consequence.RETRIED,
            (
                "Check that all training pods run at the same time and that a NetworkPolicy lets them reach each "
                "other by name."
            ),
        ),
        FailureCode.WORLD_SIZE_MISMATCH: Failure(
            "Fewer processes or devices came together than the job asks for.",
            Consequence.NEVER_RETRIED,
            "Check that each pod sees as many devices as spec.compute.gpusPerPod asks for.",
        ),
        FailureCode.CHECKPOINT_INCOMPATIBLE: Failure(
            "The checkpoints on the workspace belong to a training with other settings.",
            Consequence.NEVER_RETRIED,
            "Create a job with another name: these checkpoints belong to other settings.",
        ),
        FailureCode.STORAGE_NOT_SHARED: Failure(
            "More than one pod would share a volume that only one node can write.",
            Consequence.NEVER_RETRIED,
            (
                "Set spec.storage.workspace.accessMode to ReadWriteMany with a class that offers it, or "
                "spec.compute.pods to 1."
            ),
        ),
        FailureCode.VOLUME_NOT_BOUND: Failure(
            "A claim of the job does not exist or gets no volume.",
            Consequence.NEVER_RETRIED,
            "Look at the claim's events: its StorageClass must exist and be able to make such a volume.",
        ),
        FailureCode.NAME_CONFLICT: Failure(
            "An object that does not belong to the job has the name that the job needs.",
            Consequence.WAITED_FOR,
            "Rename this job, or delete the object that the message names.",
        ),
        FailureCode.TRACKING_UNAVAILABLE: Failure(
            "MLflow does not answer.",
            Consequence.WAITED_FOR,
            "Check that the MLflow server runs and that pods of this namespace can reach it.",
        ),
        FailureCode.TRACKING_ACCESS_DENIED: Failure(
            "MLflow does not let the job or the operator write.",
            Consequence.NEVER_RETRIED,
            (
                "Name a Secret with write access in spec.tracking.mlflow.credentialsSecretName, or have the right "
                "granted in MLflow."
            ),
        ),
        FailureCode.IMAGE_PULL: Failure(
            "The image of a stage cannot be pulled.",
            Consequence.NEVER_RETRIED,
            "Check the image name and the pull secrets in the operator's configuration.",
        ),
        FailureCode.UNSCHEDULABLE: Failure(
            "No node has what a pod asks for.",
            Consequence.WAITED_FOR,
            "Ask for less in spec.compute, or wait for or add nodes with the resource that the message names.",
        ),
        FailureCode.NODE_LOST: Failure(
            "The node of a pod does not answer any more.",
            Consequence.CONTINUED,
            "Nothing in the job is wrong: look at the node that the message names, then create the job again.",
        ),
        FailureCode.EVICTED: Failure(
            "A node ran short of memory, disk or processes and ended a pod.",
            Consequence.CONTINUED,
            (
                "The node ran short of a resource: see the message, and raise the stage's requests in the "
                "operator's configuration."
            ),
        ),
        FailureCode.DEADLINE_EXCEEDED: Failure(
            "The job was active for longer than spec.runPolicy.activeDeadlineSeconds.",
            Consequence.NEVER_RETRIED,
            "Create the job again with a longer spec.runPolicy.activeDeadlineSeconds, or train fewer steps.",
        ),
        FailureCode.BUDGET_EXCEEDED: Failure(
            "The job used more GPU hours than spec.runPolicy.maxGpuHours or its FineTuneRuntime allows.",
            Consequence.NEVER_RETRIED,
            (
                "The last checkpoint is on the workspace. Create the job again with more "
                "spec.runPolicy.maxGpuHours, or train fewer steps."
            ),
        ),
        FailureCode.RESTARTS_EXHAUSTED: Failure(
            "Every attempt that spec.runPolicy.maxRestarts allows has failed.",
            Consequence.NEVER_RETRIED,
            (
                "See the failures of the attempts in the job's events; raise spec.runPolicy.maxRestarts if they "
                "were passing ones."
            ),
        ),
        FailureCode.GATE_FAILED: Failure(
            "The tuned model missed a demand of spec.evaluation.gate, and onMiss is FailJob.",
            Consequence.NEVER_RETRIED,
            (
                "The version is published, not promoted: see reports/evaluation.html of the run, write the rows that "
                "reports/collect-next.xlsx asks for (with spec.tracking.textInReports None it is on the workspace "
                "volume alone), and create the job again."
            ),
        ),
        FailureCode.INTERNAL_ERROR: Failure(
            "A stage ended in a way that nothing else explains.",
            Consequence.RETRIED,
            (
                "Look at the log of the pod that the message names, and report it: this is a fault of Vernacular or"
                " its environment."
            ),
        ),
    }
)
