"""The contract between the operator and the stage images: what goes in (`job.json`) and what comes out.

Standard library only: the operator imports this module without any other part of the trainer.

In: the operator writes :class:`JobConfig` as JSON into an annotation of the pod template; a downwardAPI volume shows
it as ``/job/job.json``. Out: an exit code (:class:`ExitCode`) and a :class:`StageReport` as the container's termination
message, at most :data:`TERMINATION_MESSAGE_LIMIT` bytes. An exit code 78 or 85 counts only together with a valid report
that says the same.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

CONTRACT_VERSION = 6

JOB_ANNOTATION = "vernacular.dev/job"
JOB_DIRECTORY = "/job"
JOB_FILE = f"{JOB_DIRECTORY}/job.json"
WORKSPACE_ROOT = "/workspace"
INPUTS_ROOT = "/inputs"
CLAIMS_ROOT = "/claims"
SECRETS_ROOT = "/secrets"
MODEL_CACHE_ROOT = "/model-cache"
SUPERVISOR_ROOT = "/supervisor"
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT = 4096
RENDEZVOUS_PORT = 29400
# what a Secret for MLflow may hold, under the names of the environment variables that MLflow reads
TRACKING_CREDENTIAL_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
# the same for Weights & Biases
WEIGHTS_AND_BIASES_KEYS = ("WANDB_API_KEY", "WANDB_BASE_URL")

# what a Secret for a model behind a server holds
SERVICE_KEY = "OPENAI_API_KEY"
SERVICE_CREDENTIAL_KEYS = (SERVICE_KEY, "ca.crt")


class ContractError(ValueError):
    """A document does not follow the contract; the text names the field."""


class Stage(StrEnum):
    """The four stages of a job, in order."""

    PREPARE = "Prepare"
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    PUBLISH = "Publish"


class ExitCode(IntEnum):
    """Exit codes of the stage images."""

    DONE = 0
    USER_ERROR = 78
    PREEMPTED = 85
    INTERNAL = 203


class Outcome(StrEnum):
    """How a stage ended, in its own words."""

    DONE = "Done"
    USER_ERROR = "UserError"
    PREEMPTED = "Preempted"
    INTERNAL = "Internal"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that says the same."""
        return {
            Outcome.DONE: ExitCode.DONE,
            Outcome.USER_ERROR: ExitCode.USER_ERROR,
            Outcome.PREEMPTED: ExitCode.PREEMPTED,
            Outcome.INTERNAL: ExitCode.INTERNAL,
        }[self]


class StageFailure(StrEnum):
    """Failure codes that a stage may report; a subset of the codes of the API, under the same names."""

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
    TRACKING_UNAVAILABLE = "TrackingUnavailable"
    TRACKING_ACCESS_DENIED = "TrackingAccessDenied"
    INTERNAL_ERROR = "InternalError"


class Phase(StrEnum):
    """What a stage does at the moment; a stage tells it as a tag of its MLflow run."""

    DOWNLOADING = "Downloading"
    CHECKING_DATA = "CheckingData"
    TOKENISING = "Tokenising"
    LOADING_MODEL = "LoadingModel"
    TRAINING = "Training"
    SAVING = "Saving"
    EVALUATING = "Evaluating"
    PUBLISHING = "Publishing"


class TextInReports(StrEnum):
    """How much of what users wrote and models answered may leave the job's volume with reports."""

    FULL = "Full"
    MASKED = "Masked"
    NONE = "None"


PHASE_TAG = "vernacular.dev/phase"
_PHASE_TEXT = re.compile(r"(\w+) attempt (\d+): (\w+)(?:, (.{1,200}))?", re.DOTALL)


@dataclass(frozen=True)
class PhaseReport:
    """The phase of one attempt of one stage; `detail` says how far it is ("" when it does not say)."""

    stage: Stage
    attempt: int
    phase: Phase
    detail: str = ""

    def to_text(self) -> str:
        """As a tag's value, readable for people."""
        detail = f", {self.detail[:200]}" if self.detail else ""
        return f"{self.stage} attempt {self.attempt}: {self.phase}{detail}"

    @classmethod
    def from_text(cls, text: str) -> PhaseReport | None:
        """Read a tag's value; None when it is none of ours."""
        if not (found := _PHASE_TEXT.fullmatch(text)):
            return None
        stage, attempt, phase, detail = found.groups()
        if stage not in set(Stage) or phase not in set(Phase):
            return None
        return cls(Stage(stage), int(attempt), Phase(phase), detail or "")


@dataclass(frozen=True)
class JobIdentity:
    """Which FineTuneJob this is; `cluster` tells clusters apart ("" when unknown)."""

    namespace: str
    name: str
    uid: str
    cluster: str = ""


@dataclass(frozen=True)
class FileSource:
    """A file that a user named: `name` as the user wrote it (for messages), `path` where the pod sees it ("" when
    prepare fetches it from `uri`).

    `revision`: of an hf:// uri. `endpoint`: the server of an s3:// uri ("": the pod's own). `credentials_path` is the
    folder of the mounted Secret ("" when the source names none), `credentials_name` its name. `share_percent`: how much
    of all rows shall be of this source (None: all that it has).
    """

    name: str
    path: str = ""
    uri: str = ""
    revision: str = "main"
    endpoint: str = ""
    credentials_name: str = ""
    credentials_path: str = ""
    share_percent: int | None = None


@dataclass(frozen=True)
class HttpsConfig:
    """Where https:// uris may lead, and which addresses of the machine and its link may be endpoints of buckets.
    `hosts`: HOST or HOST:PORT for one server, *.DOMAIN for all below a domain; without a port 443 is meant.
    `max_file_gib`: the size of a file beyond which it is refused.
    """

    hosts: tuple[str, ...] = ()
    max_file_gib: int = 10

    def names(self, host: str, port: int) -> bool:
        """Whether the server is listed by its own name."""
        return f"{host}:{port}" in self.hosts or (port == 443 and host in self.hosts)

    def allows(self, host: str, port: int) -> bool:
        """Whether the server is listed, by its name or with others of its domain."""
        domains = [entry.partition(":") for entry in self.hosts if entry.startswith("*.")]
        listed = any(host.endswith(domain[1:]) and port == int(number or 443) for domain, _, number in domains)
        return listed or self.names(host, port)


@dataclass(frozen=True)
class ModelConfig:
    """The base model. `path` is its folder in the pod: the mounted claim, or for hf:// and s3:// the copy that prepare
    makes.

    `credentials_path` is the folder of the mounted Secret ("" when the job names none), `credentials_name` its name.
    `cache` is the folder that jobs share for models of hubs and buckets ("" when the job names none, and but for
    prepare); `path` then links into it. `endpoint`: the server of an s3:// uri ("": the pod's own).
    """

    uri: str
    path: str
    revision: str = "main"
    endpoint: str = ""
    cache: str = ""
    credentials_name: str = ""
    credentials_path: str = ""


@dataclass(frozen=True)
class DatasetConfig:
    """Training sources, how their rows are read, and how to split them. `teaches` is "Facts" or "Skill". `validation`:
    sources of the rows that are held out; when there are none, a part of the training rows is.

    `format`: Auto or the format of all rows. `columns`: the user's names of columns and the names they stand for.
    `system_prompt` goes before each row and question that has no system message ("": nothing does). `duplicates`:
    Report, DropExact or DropNear. `personal_data`: Report, Redact or Fail. More than `max_bad_rows_percent` of rows
    that cannot be trained on are a failure, fewer are left out. `cache` is the folder that jobs share for files of
    servers ("" when the job names none, and but for prepare), which may have `cache_gib` GiB (0: any number).
    `chat_template`: a Jinja template in the place of the
    model's own; None: there is none.
    """

    train: tuple[FileSource, ...]
    teaches: str = "Facts"
    validation_split_percent: int = 10
    format: str = "Auto"
    columns: dict[str, str] = field(default_factory=dict)
    system_prompt: str = ""
    duplicates: str = "Report"
    personal_data: str = "Report"
    max_bad_rows_percent: int = 0
    cache: str = ""
    validation: tuple[FileSource, ...] = ()
    chat_template: FileSource | None = None
    cache_gib: int = 0


@dataclass(frozen=True)
class MethodConfig:
    """`type` is "LoRA", "QLoRA" or "Full"; the rest applies to adapters. `variant`: Standard, RSLoRA or DoRA.

    None: chosen by prepare's plan.
    """

    type: str = "LoRA"
    rank: int | None = None
    alpha: int | None = None
    dropout_percent: int | None = None
    target_modules: tuple[str, ...] | None = None
    variant: str | None = None

    @property
    def makes_adapter(self) -> bool:
        """Whether the result is an adapter, not a whole model."""
        return self.type != "Full"

    @property
    def result(self) -> str:
        """What the folder of the result is called, in the workspace and in MLflow."""
        return "adapter" if self.makes_adapter else "model"

    @property
    def quantizes(self) -> bool:
        """Whether the frozen base is held in four bits, in training and after it."""
        return self.type == "QLoRA"


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is learnt from: "SFT", answers, or "DPO", pairs of a chosen and a rejected one. `beta` is DPO's (None:
    chosen by prepare's plan).
    """

    type: str = "SFT"
    beta: str | None = None

    @property
    def compares(self) -> bool:
        """Whether rows are pairs of answers."""
        return self.type == "DPO"


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """End when `patience` evaluations in a row have not lowered the loss by more than `min_delta`."""

    patience: int | None = None
    min_delta: str | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """What the user asked for; None: chosen, and prepare's plan says why. At most one of epochs and max_steps.

    `loss`: AnswersOnly or AllTokens. `gradient_checkpointing`: On, Off or Auto. `packing`: Auto or Off. `optimizer`:
    AdamW, AdamW8bit, PagedAdamW8bit or Auto. `extra_arguments`: of transformers.TrainingArguments. `keep`: Best or
    Last.
    """

    epochs: int | None = None
    max_steps: int | None = None
    learning_rate: str | None = None
    effective_batch_size: int | None = None
    micro_batch_size: int | None = None
    max_sequence_length: int | None = None
    precision: str | None = None
    scheduler: str | None = None
    warmup_percent: int | None = None
    weight_decay: str | None = None
    max_grad_norm: str | None = None
    seed: int | None = None
    loss: str | None = None
    gradient_checkpointing: str | None = None
    packing: str | None = None
    evaluate_every_steps: int | None = None
    optimizer: str | None = None
    extra_arguments: dict[str, str] = field(default_factory=dict)
    keep: str | None = None
    early_stopping: EarlyStoppingConfig | None = None


@dataclass(frozen=True)
class CheckpointsConfig:
    """Steps between two checkpoints, and how many complete ones are kept. None: chosen by prepare's plan."""

    every_steps: int | None = None
    keep: int | None = None


@dataclass(frozen=True)
class ComputeConfig:
    """`pods` x `processes_per_pod` ranks; with `gpus_per_pod` > 0 one rank per GPU.

    `strategy`: DDP, ZeRO1, ZeRO2, ZeRO3 or None (chosen). `offload`: what is kept in the memory of the host, None,
    Optimizer or OptimizerAndParameters. `gpu_memory_gib`: memory of each GPU (0: not known).
    `rendezvous_host` is the stable DNS name of pod 0 ("" when there is only one pod).
    """

    pods: int = 1
    processes_per_pod: int = 1
    gpus_per_pod: int = 0
    gpu_memory_gib: int = 0
    strategy: str | None = None
    offload: str = "None"
    rendezvous_host: str = ""

    @property
    def world_size(self) -> int:
        """Number of training ranks over all pods."""
        return self.pods * self.processes_per_pod


@dataclass(frozen=True)
class RepairConfig:
    """Changes to the plan after attempts that ran out of memory. The rows of an optimizer step stay the same."""

    micro_batch_size: int
    accumulation: int
    gradient_checkpointing: bool


@dataclass(frozen=True)
class GateConfig:
    """What the tuned model must reach to be promoted. None: not demanded. Percent of all questions; `invented`: of
    those that have no answer; `general_regression`: of what the base knew about the world.
    """

    min_correct_percent: int | None = None
    max_wrong_percent: int | None = None
    max_invented_percent: int | None = None
    min_gain_points: int | None = None
    max_general_regression_percent: int | None = None


@dataclass(frozen=True)
class ServiceConfig:
    """A model behind an OpenAI-compatible server. `credentials_path` is the folder of the mounted Secret ("" when the
    job names none), `credentials_name` its name.
    """

    endpoint: str
    model: str
    credentials_name: str = ""
    credentials_path: str = ""


@dataclass(frozen=True)
class JudgeConfig:
    """A model that compares the answers, asked at most `max_requests` times."""

    service: ServiceConfig
    max_requests: int


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out questions (JSONL); None: the validation rows of the data set are asked instead. `glossary` (YAML): the
    company's terms; None: there is none. `judge` and `embeddings`: None when the job names none, and but for evaluate.
    """

    questions: FileSource | None = None
    glossary: FileSource | None = None
    gate: GateConfig = field(default_factory=GateConfig)
    judge: JudgeConfig | None = None
    embeddings: ServiceConfig | None = None


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow server and run. `run_id` is "" in prepare, which runs while the operator opens the run.
    `text_in_reports`: how much text of users and models is published.
    """

    uri: str
    experiment: str
    run_id: str = ""
    credentials_name: str = ""
    credentials_path: str = ""
    text_in_reports: TextInReports = TextInReports.FULL


@dataclass(frozen=True)
class WeightsAndBiasesConfig:
    """A run in Weights & Biases beside the one in MLflow. `entity`: "" for the key's own. `credentials_path` is the
    folder of the mounted Secret ("" when there is none, and but for publish); without `online` nothing is sent.
    """

    project: str
    entity: str = ""
    online: bool = False
    credentials_path: str = ""


@dataclass(frozen=True)
class PublishConfig:
    """Name of the registered model and the alias that the new version gets. `promotion`: Manual, or Automatic: a
    version whose verdict is Promote gets `promoted_alias` too.
    """

    registered_model: str
    alias: str = "candidate"
    promotion: str = "Manual"
    promoted_alias: str = "champion"


@dataclass(frozen=True)
class TrainerConfig:
    """A trainer of the user's own: the program and its arguments, started as they are, without a shell."""

    command: tuple[str, ...]


@dataclass(frozen=True)
class JobConfig:
    """Everything one attempt of one stage needs to know. `workspace` is the job's own folder on the shared volume."""

    stage: Stage
    attempt: int
    identity: JobIdentity
    workspace: str
    model: ModelConfig
    dataset: DatasetConfig
    tracking: TrackingConfig
    publish: PublishConfig
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    repair: RepairConfig | None = None
    weights_and_biases: WeightsAndBiasesConfig | None = None
    trainer: TrainerConfig | None = None
    https: HttpsConfig = field(default_factory=HttpsConfig)
    grace_period_seconds: int = 120
    contract: int = CONTRACT_VERSION

    def to_json(self) -> str:
        """Serialise deterministically (sorted keys), so that equal configurations give equal bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> JobConfig:
        """Parse `job.json`. Raises ContractError for unknown, missing, wrongly typed fields and other versions."""
        document = _load_object(text)
        if document.get("contract") != CONTRACT_VERSION:
            found = document.get("contract")
            raise ContractError(
                f"contract {found!r}, not {CONTRACT_VERSION}: operator and stage image differ in version"
            )
        return build_strictly(cls, document, "job")


@dataclass(frozen=True)
class Problem:
    """A finding in the data: stable code, number of rows, the first of them (file and 1-based line), advice, and
    severity: Error, Warning or Info.
    """

    code: str
    count: int
    first_rows: tuple[str, ...] = ()
    advice: str = ""
    severity: str = ""


@dataclass(frozen=True)
class PlanValue:
    """One resolved setting and why it has this value."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Readiness:
    """Whether fine-tuning fits the data. `verdict`: Train, MendFirst, RetrieveFirst or PromptFirst; `reasons`: why."""

    verdict: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrepareSummary:
    """Counts after checking and splitting, and the resolved plan. Of the `rows` that were read, `dropped` are not used;
    all others are in `train` or `validation`. `tokens`: of the training split, per epoch.
    """

    rows: int
    dropped: int
    duplicates: int
    train: int
    validation: int
    tokens: int
    digest: str
    total_steps: int
    plan_summary: str = ""
    plan: tuple[PlanValue, ...] = ()
    problems: tuple[Problem, ...] = ()
    readiness: Readiness | None = None


@dataclass(frozen=True)
class TrainSummary:
    """How far training came. Losses are decimal strings ("" when not measured).

    `result_step`: the step whose weights are the result; 0 while there is none.
    """

    step: int
    total_steps: int
    loss: str = ""
    eval_loss: str = ""
    tokens: int = 0
    training_seconds: int = 0
    resumed_from_step: int = 0
    checkpoint_step: int = 0
    complete_checkpoints: int = 0
    result_step: int = 0
    stopped_early: bool = False


@dataclass(frozen=True)
class AnswerCounts:
    """How many questions were answered how. `invented`: a made-up answer to a question that has none."""

    correct: int
    wrong: int
    declined: int
    invented: int = 0


@dataclass(frozen=True)
class Gain:
    """Percentage points gained by the tuned model over the base, with a 95 % interval."""

    value: int
    low: int
    high: int


@dataclass(frozen=True)
class PromptedSummary:
    """What the base achieves without training, with matching training rows in its prompt. `asked`: so many of the
    questions, `tuned_correct` of which the tuned model answers right. `tokens_per_request`: of the prompt, on average.
    """

    asked: int
    counts: AnswerCounts
    tuned_correct: int
    tokens_per_request: int


@dataclass(frozen=True)
class EvaluateSummary:
    """Base against tuned on the held-out questions. `verdict`: Promote, Hold, Regressed, Inconclusive or PromptInstead.

    `prompted` and `general_regression_percent` (of what the base knew about the world) are None when not measured.
    `gate_missed`: each demand of the gate that was missed. `weak_topics`: where answers are worst.
    """

    summary: str
    verdict: str
    base: AnswerCounts
    tuned: AnswerCounts
    gain_points: Gain
    prompted: PromptedSummary | None = None
    general_regression_percent: int | None = None
    gate_missed: tuple[str, ...] = ()
    weak_topics: tuple[str, ...] = ()
    evaluation_seconds: int = 0


@dataclass(frozen=True)
class PublishSummary:
    """Where the result is. `promoted_alias`: "" when it was not promoted; `replaced_version`: the version that had that
    alias before, "" when none had.
    """

    registered_model: str
    model_version: str
    alias: str
    artifact_uri: str
    promoted_alias: str = ""
    replaced_version: str = ""


Summary = PrepareSummary | TrainSummary | EvaluateSummary | PublishSummary

SUMMARY_TYPES: dict[Stage, type[Summary]] = {
    Stage.PREPARE: PrepareSummary,
    Stage.TRAIN: TrainSummary,
    Stage.EVALUATE: EvaluateSummary,
    Stage.PUBLISH: PublishSummary,
}


@dataclass(frozen=True)
class StageReport:
    """The termination message. Never contains text of a user's rows.

    `message` says what happened, `advice` what to do, `evidence` where it was seen (file and line, type of exception).
    """

    outcome: Outcome
    code: str = ""
    message: str = ""
    advice: str = ""
    evidence: str = ""
    summary: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """At most TERMINATION_MESSAGE_LIMIT bytes of UTF-8: texts are cut first, then the summary is dropped."""
        for limit in (1024, 512, 256, 128):
            text = _dump_report(self, limit, self.summary)
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        return _dump_report(self, 128, {})

    @classmethod
    def from_json(cls, text: str) -> StageReport:
        """Parse a termination message. Raises ContractError when it is not one."""
        return build_strictly(cls, _load_object(text), "report")

    def typed_summary(self, stage: Stage) -> Summary | None:
        """The summary as the stage's own type, None when there is none. Raises ContractError when it does not fit."""
        return build_strictly(SUMMARY_TYPES[stage], self.summary, "summary") if self.summary else None


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """Plain data of a summary, for StageReport.summary."""
    return dataclasses.asdict(summary)


def _dump_report(report: StageReport, limit: int, summary: dict[str, Any]) -> str:
    texts = {name: _cut(getattr(report, name), limit) for name in ("message", "advice", "evidence")}
    document = {"outcome": report.outcome, "code": report.code, **texts, "summary": summary}
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _load_object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ContractError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ContractError("not a JSON object")
    return document


T = TypeVar("T")


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    """The operator reads many reports: working out the hints each time would take longer than the rest."""
    return typing.get_type_hints(cls)


def build_strictly(cls: type[T], document: dict[str, Any], where: str) -> T:
    """Build a dataclass from plain data; unknown, missing and wrongly typed fields are errors that name their path."""
    hints = _hints(cls)  # type: ignore[arg-type]
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(document) - set(fields)):
        raise ContractError(f"{where}: unknown field {unknown[0]!r}")
    values = {name: _convert(hints[name], value, f"{where}.{name}") for name, value in document.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ContractError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (hint,) = [option for option in typing.get_args(hint) if option is not type(None)]
        return _convert(hint, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ContractError(f"{where}: expected a list")
        return tuple(_convert(typing.get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: _convert(typing.get_args(hint)[1], item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ContractError(f"{where}: expected an object")
        return build_strictly(typing.cast("type[Any]", hint), value, where)
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        try:
            return hint(value)
        except ValueError:
            raise ContractError(f"{where}: {value!r} is none of {', '.join(hint)}") from None
    expected = dict if typing.get_origin(hint) is dict else hint
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise ContractError(f"{where}: expected {expected.__name__}, got {type(value).__name__}")
    return value
