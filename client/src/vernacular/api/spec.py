"""The spec of a FineTuneJob: what a user writes. What is absent under `training` and `lora` is chosen by the plan."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from vernacular.api.base import ATOMIC_LIST, SpecModel, cel, rules
from vernacular.api.constants import DEFAULT_ALIAS, DEFAULT_GPU_RESOURCE, DEFAULT_PROMOTED_ALIAS
from vernacular.api.pod_overrides import PodOverride
from vernacular.api.sources import FileRef, ModelSpec, RowsRef, SecretRef, TrainingSource
from vernacular.api.strings import (
    Alias,
    ArgumentName,
    ArgumentValue,
    Beta,
    ClusterObjectName,
    Endpoint,
    ImageName,
    LearningRate,
    MaxGradNorm,
    MinDelta,
    ModuleName,
    ObjectName,
    ResourceName,
    ServiceModel,
    StorageSize,
    TagKey,
    TagValue,
    TrackingName,
    WeightDecay,
)

# what rows of the known formats are made of
_COLUMNS = (
    *("messages", "tools", "prompt", "completion", "question", "answer", "instruction", "input", "output", "system"),
    *("conversations", "text", "chosen", "rejected", "topic"),
)


class Teaches(StrEnum):
    """What held-out rows are: other wordings of what was taught, or cases never seen."""

    FACTS = "Facts"
    SKILL = "Skill"


class RowFormat(StrEnum):
    """How rows are written; Auto: as the keys of each row show."""

    AUTO = "Auto"
    MESSAGES = "Messages"
    PROMPT_COMPLETION = "PromptCompletion"
    INSTRUCTION = "Instruction"
    CONVERSATIONS = "Conversations"
    TEXT = "Text"
    PREFERENCE = "Preference"


class Duplicates(StrEnum):
    """What becomes of rows that repeat an earlier one."""

    REPORT = "Report"
    DROP_EXACT = "DropExact"
    DROP_NEAR = "DropNear"


class PersonalData(StrEnum):
    """What becomes of personal data and secrets in rows."""

    REPORT = "Report"
    REDACT = "Redact"
    FAIL = "Fail"


class Objective(StrEnum):
    """What is learnt from: answers, or pairs of a chosen and a rejected one."""

    SFT = "SFT"
    DPO = "DPO"


class MethodType(StrEnum):
    """Train a small adapter beside the model, or beside the model in four bits, or every weight of it."""

    LORA = "LoRA"
    QLORA = "QLoRA"
    FULL = "Full"


class Precision(StrEnum):
    """Number format of training."""

    AUTO = "Auto"
    BF16 = "BF16"
    FP16 = "FP16"
    FP32 = "FP32"


class Scheduler(StrEnum):
    """How the learning rate changes after the warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class LoraVariant(StrEnum):
    """How the adapter is scaled and what it changes."""

    STANDARD = "Standard"
    RSLORA = "RSLoRA"
    DORA = "DoRA"


class TrainedTokens(StrEnum):
    """Which tokens of a row the model learns to say."""

    ANSWERS_ONLY = "AnswersOnly"
    ALL_TOKENS = "AllTokens"


class GradientCheckpointing(StrEnum):
    """Whether activations are computed a second time instead of kept."""

    AUTO = "Auto"
    ON = "On"
    OFF = "Off"


class Packing(StrEnum):
    """Whether rows are computed one behind the other, without padding."""

    AUTO = "Auto"
    OFF = "Off"


class Optimizer(StrEnum):
    """What turns gradients into new weights."""

    AUTO = "Auto"
    ADAMW = "AdamW"
    ADAMW_8BIT = "AdamW8bit"
    PAGED_ADAMW_8BIT = "PagedAdamW8bit"


class Offload(StrEnum):
    """What DeepSpeed keeps in the memory of the host instead of the GPU's."""

    NONE = "None"
    OPTIMIZER = "Optimizer"
    OPTIMIZER_AND_PARAMETERS = "OptimizerAndParameters"


class Keep(StrEnum):
    """Which weights become the result."""

    BEST = "Best"
    LAST = "Last"


class Strategy(StrEnum):
    """How ranks share the work: copies of all, or DeepSpeed ZeRO dividing optimizer state (1), gradients (2) and
    parameters (3) among them.
    """

    DDP = "DDP"
    ZERO1 = "ZeRO1"
    ZERO2 = "ZeRO2"
    ZERO3 = "ZeRO3"


class AccessMode(StrEnum):
    """Who may mount the workspace."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class DeletionPolicy(StrEnum):
    """What becomes of the workspace claim when the job is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class RuntimeRef(SpecModel):
    """A FineTuneRuntime of the cluster."""

    name: ClusterObjectName = Field(description="Name of the FineTuneRuntime; kubectl get ftr lists them.")


class ValidationSpec(SpecModel):
    """Rows kept back from training."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.splitPercent) || !has(self.sources)",
                "sources are the rows that are kept back; remove splitPercent, or sources",
            )
        )
    )

    split_percent: int | None = Field(
        default=None,
        ge=0,
        le=50,
        description="Percentage of the training rows that is kept back. 0: none. Default: 10, or none with sources.",
    )
    sources: Annotated[tuple[RowsRef, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None = Field(
        default=None, description="Files of rows that are kept back instead, written like those of train."
    )


class DatasetSpec(SpecModel):
    """What the model is taught."""

    teaches: Teaches = Field(
        default=Teaches.FACTS,
        description="Facts: held-out rows are other wordings of what was taught. Skill: they are cases never seen.",
    )
    train: Annotated[
        tuple[TrainingSource, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=rules(
                cel(
                    "self.exists(source, !has(source.sharePercent))",
                    "at least one source has no sharePercent: the shares of the others are counted beside its rows",
                ),
                cel(
                    "self.filter(source, has(source.sharePercent)).map(source, source.sharePercent).sum() < 100",
                    "all sharePercent together must stay below 100",
                ),
            ),
        ),
        ATOMIC_LIST,
    ] = Field(
        description="Files of rows: JSONL, JSON, CSV, Excel (.xlsx) or Parquet, plain or packed with gzip or zstd. The"
        " rows of all files are mixed.",
    )
    validation: ValidationSpec = Field(default=ValidationSpec(), description="Rows kept back from training.")
    format: RowFormat = Field(
        default=RowFormat.AUTO, description="How all rows are written. Auto: as the keys of each row show."
    )
    columns: (
        Annotated[
            dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=32)]],
            Field(
                max_length=16,
                json_schema_extra=rules(
                    cel(
                        f"self.all(key, self[key] in {list(_COLUMNS)})",
                        f"a column stands for one of {', '.join(_COLUMNS)}",
                    ),
                    cel(
                        "self.all(one, self.all(other, one == other || self[one] != self[other]))",
                        "two columns cannot stand for the same name",
                    ),
                ),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Names of columns, or keys, and what the formats call them: {frage: question, antwort: answer}.",
    )
    system_prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=8192,
        description="Goes before each row and each question that has no system message of its own.",
    )
    chat_template: FileRef | None = Field(
        default=None,
        description="A Jinja template that writes conversations for the model, in the place of its own: in training and"
        " evaluation, and saved with the result.",
    )
    duplicates: Duplicates = Field(
        default=Duplicates.REPORT,
        description="Report: rows that repeat an earlier one stay. DropExact: they are left out. DropNear: so are rows"
        " that nearly repeat one, question and answer.",
    )
    personal_data: PersonalData = Field(
        default=PersonalData.REPORT,
        description="Report: personal data and secrets are counted. Redact: they are replaced, like [EMAIL], before"
        " training. Fail: the job fails.",
    )
    max_bad_rows_percent: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Rows that cannot be trained on are left out up to this percentage; the job fails beyond it.",
    )


class LoraSpec(SpecModel):
    """Shape of the adapter; absent values are chosen, and status.plan says what and why."""

    rank: int | None = Field(default=None, ge=1, le=1024, description="Rank of the adapter's matrices.")
    alpha: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Scale of the adapter; the factor is alpha / rank, with RSLoRA alpha / the square root of rank.",
    )
    dropout_percent: int | None = Field(default=None, ge=0, le=90, description="Dropout on the adapter's input.")
    target_modules: Annotated[tuple[ModuleName, ...], Field(min_length=1, max_length=64), ATOMIC_LIST] | None = Field(
        default=None, description='Modules that get an adapter, by name; "all-linear": every linear layer.'
    )
    variant: LoraVariant | None = Field(
        default=None,
        description="Standard (default). RSLoRA: a high rank learns as fast as a low one. DoRA: length and direction of"
        " the weights are learnt apart, slower and often better at a low rank.",
    )


class MethodSpec(SpecModel):
    """How the model learns."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.lora) || self.type != 'Full'",
                "lora is the shape of an adapter; remove it, or set type: LoRA",
            ),
        )
    )

    type: MethodType = Field(
        default=MethodType.LORA,
        description="LoRA: a small adapter. QLoRA: the same beside a model in four bits. Full: every weight.",
    )
    lora: LoraSpec | None = Field(default=None, description="Shape of the adapter.")


class EarlyStoppingSpec(SpecModel):
    """The end of a training that no longer gets better."""

    patience: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Evaluations in a row without a lower loss after which the training ends. Default: 3.",
    )
    min_delta: MinDelta | None = Field(
        default=None, description='A loss counts as lower when it is so by more than this, like "0.001". Default: 0.'
    )


class TrainingSpec(SpecModel):
    """Settings of the training; absent values are chosen, and status.plan says what and why."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!(has(self.epochs) && has(self.maxSteps))", "write epochs or maxSteps, not both"),
            cel(
                "!has(self.microBatchSize) || !has(self.effectiveBatchSize)"
                " || self.microBatchSize <= self.effectiveBatchSize",
                "microBatchSize is a part of effectiveBatchSize and cannot be larger",
            ),
        )
    )

    epochs: int | None = Field(default=None, ge=1, le=1000, description="Passes over the training rows.")
    max_steps: int | None = Field(default=None, ge=1, le=10_000_000, description="Optimizer steps, instead of epochs.")
    learning_rate: LearningRate | None = Field(default=None, description='Highest learning rate, like "2e-4".')
    effective_batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description="Rows in each optimizer step, over all ranks."
    )
    micro_batch_size: int | None = Field(
        default=None, ge=1, le=4096, description="Rows that one rank computes at once; normally chosen."
    )
    max_sequence_length: int | None = Field(default=None, ge=16, le=1_048_576, description="Longest row in tokens.")
    precision: Precision | None = Field(default=None, description="Number format. Auto: what the device does best.")
    scheduler: Scheduler | None = Field(default=None, description="How the learning rate changes after the warm-up.")
    warmup_percent: int | None = Field(
        default=None, ge=0, le=100, description="Part of the steps in which the learning rate rises."
    )
    weight_decay: WeightDecay | None = Field(default=None, description='Weight decay, like "0.01".')
    max_grad_norm: MaxGradNorm | None = Field(
        default=None, description='Gradients are clipped to this norm, like "1.0".'
    )
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Seed of everything random.")
    loss: TrainedTokens | None = Field(
        default=None,
        description="AnswersOnly (default): the model learns to answer. AllTokens: it learns the questions as well.",
    )
    gradient_checkpointing: GradientCheckpointing | None = Field(
        default=None,
        description="On: less memory, a third more computation. Off: never. Auto (default): off until memory runs out.",
    )
    packing: Packing | None = Field(
        default=None,
        description="Auto (default): rows are computed one behind the other, without padding, where the model keeps"
        " them apart; the losses are the same. Off: they are padded to one length.",
    )
    evaluate_every_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Steps between two losses on the rows that were kept back."
    )
    optimizer: Optimizer | None = Field(
        default=None,
        description="AdamW. AdamW8bit: its state in a quarter of the memory. PagedAdamW8bit: the same, moved to the"
        " host while a GPU has no room for it. Auto (default): chosen.",
    )
    extra_arguments: dict[ArgumentName, ArgumentValue] = Field(
        default_factory=dict,
        max_length=16,
        description="More of transformers.TrainingArguments, like neftune_noise_alpha; prepare refuses those without"
        " effect here, and says which have one.",
        json_schema_extra=rules(
            cel(
                "self.all(name, name.matches('^[a-z][a-z0-9_]{0,63}$'))",
                "names are those of transformers.TrainingArguments, like neftune_noise_alpha",
            )
        ),
    )
    keep: Keep | None = Field(
        default=None,
        description="Best: the result is the step with the lowest loss on the rows that were kept back. Last: the last"
        " one. Absent: Best with earlyStopping, else Last.",
    )
    early_stopping: EarlyStoppingSpec | None = Field(
        default=None, description="End when the loss on the rows that were kept back falls no more."
    )


class ComputeSpec(SpecModel):
    """Pods and devices of the training."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.cpuProcessesPerPod) || self.gpusPerPod == 0",
                "cpuProcessesPerPod is for training without GPUs;"
                " set gpusPerPod: 0, or remove it: each GPU gets one process",
            ),
            cel(
                "!has(self.offload) || self.offload == 'None' || (has(self.strategy) && (self.strategy == 'ZeRO3'"
                " || (self.offload == 'Optimizer' && self.strategy in ['ZeRO1', 'ZeRO2'])))",
                "offload is DeepSpeed's; write strategy ZeRO3, or with offload Optimizer ZeRO1 or ZeRO2",
            ),
        )
    )

    pods: int = Field(default=1, ge=1, le=1024, description="Training pods.")
    gpus_per_pod: int = Field(
        default=1, ge=0, le=64, description="GPUs and processes of each pod. 0: train on the CPU."
    )
    cpu_processes_per_pod: int | None = Field(
        default=None, ge=1, le=64, description="Processes of each pod when gpusPerPod is 0. Default: 1."
    )
    gpu_resource: ResourceName = Field(
        default=DEFAULT_GPU_RESOURCE, description="Resource that the nodes offer their GPUs under."
    )
    strategy: Strategy | None = Field(default=None, description="How ranks share the work. Absent: chosen.")
    offload: Offload | None = Field(
        default=None,
        description="What is kept in the memory of the host instead of the GPU's: Optimizer (ZeRO1, ZeRO2, ZeRO3) or"
        " OptimizerAndParameters (ZeRO3). Slower. Default: None.",
    )

    @property
    def processes_per_pod(self) -> int:
        """Training ranks in each pod: one for each GPU, or as many as asked for on the CPU."""
        return self.gpus_per_pod or self.cpu_processes_per_pod or 1

    @property
    def gpus(self) -> int:
        """GPUs of all training pods together."""
        return self.pods * self.gpus_per_pod


class CheckpointsSpec(SpecModel):
    """What is saved while the training goes on."""

    every_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Steps between two checkpoints. Absent: chosen."
    )
    keep: int | None = Field(
        default=None, ge=1, le=100, description="How many complete checkpoints are kept. Default: 2."
    )
    grace_period_seconds: int | None = Field(
        default=None,
        ge=30,
        le=86_400,
        description="Time to save when the training is asked to stop. Default: the operator's.",
    )


class WorkspaceSpec(SpecModel):
    """The volume that stages share: a claim made for the job, or one that exists."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.claimName) || !(has(self.size) || has(self.storageClassName)"
                " || has(self.accessMode) || has(self.deletionPolicy))",
                "claimName uses a claim that exists; remove it,"
                " or remove size, storageClassName, accessMode and deletionPolicy",
            ),
        )
    )

    size: StorageSize | None = Field(default=None, description="Size of the claim, like 20Gi. Default: the operator's.")
    storage_class_name: ObjectName | None = Field(
        default=None, description="StorageClass of the claim. Default: the operator's, else the cluster's."
    )
    access_mode: AccessMode | None = Field(
        default=None, description="More than one pod needs ReadWriteMany. Default: the operator's."
    )
    deletion_policy: DeletionPolicy | None = Field(
        default=None, description="Delete (default): the claim goes with the job. Retain: it stays."
    )
    claim_name: ObjectName | None = Field(
        default=None,
        description="A claim that exists; the job writes under a folder of its own and never deletes the claim.",
    )


class ModelCacheSpec(SpecModel):
    """A claim that jobs of the namespace share for what they fetch from hubs and buckets."""

    claim_name: ObjectName = Field(
        description="A claim that exists; ReadWriteMany lets jobs on several nodes use it at the same time."
    )


class StorageSpec(SpecModel):
    """Volumes of the job."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.modelCache) || !has(self.workspace) || !has(self.workspace.claimName)"
                " || self.modelCache.claimName != self.workspace.claimName",
                "all jobs read modelCache, and training writes to workspace: name two claims",
            ),
        )
    )

    workspace: WorkspaceSpec = Field(default_factory=WorkspaceSpec, description="The volume that stages share.")
    model_cache: ModelCacheSpec | None = Field(
        default=None,
        description="Where hf:// and s3:// models and files are kept for all jobs; each version is fetched once.",
    )


class DpoSpec(SpecModel):
    """Settings of objective DPO."""

    beta: Beta | None = Field(
        default=None,
        description="How strongly the model is held to what it was, as a string. Absent: chosen, 0.1.",
    )


class TrainerSpec(SpecModel):
    """A trainer of your own in the train stage."""

    command: Annotated[
        tuple[Annotated[str, Field(max_length=1024)], ...],
        Field(min_length=1, max_length=64),
        ATOMIC_LIST,
    ] = Field(
        description="The program and its arguments, started as they are, without a shell.",
        json_schema_extra=rules(cel("self[0] != ''", "the first entry of command is the program to start")),
    )
    image: ImageName | None = Field(
        default=None,
        description="An image with Python 3.11 or newer as python3. Default: the trainer image of the operator.",
    )


class OnMiss(StrEnum):
    """What follows when a demand of the gate is missed; the result is published either way."""

    HOLD = "Hold"
    FAIL_JOB = "FailJob"


def _percent(description: str) -> Any:
    return Field(default=None, ge=0, le=100, description=description)


class GateSpec(SpecModel):
    """What the tuned model must reach to be promoted. What was not measured is missed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.minCorrectPercent) || has(self.maxWrongPercent) || has(self.maxInventedPercent)"
                " || has(self.minGainPoints) || has(self.maxGeneralRegressionPercent)",
                "a gate without a demand lets everything pass; write at least one, like minCorrectPercent: 85",
            ),
        )
    )

    min_correct_percent: int | None = _percent("At least so many of all questions are answered right.")
    max_wrong_percent: int | None = _percent("At most so many of all questions are answered wrong.")
    max_invented_percent: int | None = _percent(
        "At most so many of the questions with answerable: false get a made-up answer."
    )
    min_gain_points: int | None = _percent("The share of right answers grows by at least so many percentage points.")
    max_general_regression_percent: int | None = _percent(
        "At most so much less is known about the world than the base model knew."
    )
    on_miss: OnMiss = Field(
        default=OnMiss.HOLD,
        description="Hold (default): the version is not promoted. FailJob: the job fails too, after publishing.",
    )


class ServiceSpec(SpecModel):
    """A model behind an OpenAI-compatible server. It is sent the questions, the expected answers and the answers."""

    endpoint: Endpoint = Field(
        description="Base address of its API, like https://llm.example.com/v1; evaluate pods must be able to reach it."
    )
    model: ServiceModel = Field(description="Name of the model, as the server knows it.")
    credentials: SecretRef | None = Field(
        default=None,
        description="Secret with OPENAI_API_KEY, if need be with ca.crt, the certificate of the server's authority."
        " Only evaluate pods see it. Absent: it is asked without a key.",
    )


class JudgeSpec(ServiceSpec):
    """A model that says which answer is better. It is sent the questions, the expected answers and both answers."""

    max_requests: int = Field(
        default=200,
        ge=2,
        le=10000,
        description="At most so many requests, two for each question: the second with the answers in swapped places.",
    )


class EvaluationSpec(SpecModel):
    """What base and tuned model are asked, and what is demanded of the answers."""

    questions: FileRef | None = Field(
        default=None,
        description="JSONL file of held-out questions. Absent: the rows kept back from training are asked.",
    )
    glossary: FileRef | None = Field(
        default=None, description="YAML file of the company's terms: looked for in the rows, and asked for."
    )
    gate: GateSpec | None = Field(
        default=None, description="What the tuned model must reach. Absent: a proven gain without proven harm."
    )
    judge: JudgeSpec | None = Field(
        default=None,
        description="A model that compares the answers, for the report; the verdict does not depend on it.",
    )
    embeddings: ServiceSpec | None = Field(
        default=None,
        description="A model that shows, for the report, how near answers come to the expected ones in meaning.",
    )


class MLflowSpec(SpecModel):
    """Where the job is recorded."""

    experiment: TrackingName | None = Field(
        default=None, description="Experiment; the operator puts the namespace before it. Default: the job's name."
    )
    tags: dict[TagKey, TagValue] = Field(
        default_factory=dict,
        max_length=32,
        description="Tags of the run.",
        json_schema_extra=rules(
            cel(
                "self.all(key, key.matches('^[A-Za-z0-9_./ -]{1,250}$')"
                " && !key.startsWith('vernacular.dev/') && !key.startsWith('mlflow.'))",
                "tag names consist of letters, digits, spaces, '_', '.', '/' and '-';"
                " vernacular.dev/ and mlflow. are kept for the operator and MLflow",
            )
        ),
    )
    credentials_secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    )


class WeightsAndBiasesMode(StrEnum):
    """Whether a run is sent to a server."""

    OFFLINE = "Offline"
    ONLINE = "Online"


class WeightsAndBiasesSpec(SpecModel):
    """A second record of the metrics, in Weights & Biases."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.mode) || self.mode != 'Online' || has(self.secretName)",
                "mode Online needs secretName, a Secret with WANDB_API_KEY",
            )
        )
    )

    project: TrackingName = Field(description="Project of the run.")
    entity: TrackingName | None = Field(default=None, description="User or team. Default: the key's own.")
    mode: WeightsAndBiasesMode | None = Field(
        default=None,
        description="Offline (default): files for `wandb sync` among the artifacts of the MLflow run. Online: publish"
        " also sends them.",
    )
    secret_name: ObjectName | None = Field(
        default=None, description="Secret with WANDB_API_KEY, and WANDB_BASE_URL for a server of your own."
    )


class TextInReports(StrEnum):
    """How much of what users wrote and models answered may leave the job's volume with reports."""

    FULL = "Full"
    MASKED = "Masked"
    NONE = "None"


class TrackingSpec(SpecModel):
    """Records of the job."""

    mlflow: MLflowSpec = Field(default_factory=MLflowSpec, description="Where the job is recorded.")
    weights_and_biases: WeightsAndBiasesSpec | None = Field(
        default=None, description="Record the metrics in Weights & Biases too, when the job is published."
    )
    text_in_reports: TextInReports = Field(
        default=TextInReports.FULL,
        description="What of rows, questions and answers is published. Full: all that reports show. Masked: personal"
        " data and secrets are replaced by their kind. None: no text, only numbers, digests and places of rows; the"
        " whole reports stay on the job's volume.",
    )


class Promotion(StrEnum):
    """Who gives a version the alias that serving reads."""

    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class PublishSpec(SpecModel):
    """Where the result goes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.promotedAlias) || (has(self.promotion) && self.promotion == 'Automatic')",
                "promotedAlias is for promotion: Automatic; add that, or remove promotedAlias",
            ),
            cel(
                "!has(self.promotion) || self.promotion != 'Automatic' || (has(self.promotedAlias)"
                f" ? self.promotedAlias : '{DEFAULT_PROMOTED_ALIAS}') != self.alias",
                "alias and promotedAlias are the same, so every version would be promoted; write two names",
            ),
        )
    )

    registered_model: TrackingName | None = Field(
        default=None,
        description="Registered model; the operator puts the namespace before it. Default: the job's name.",
    )
    alias: Alias = Field(default=DEFAULT_ALIAS, description="Alias that the new version gets.")
    promotion: Promotion = Field(
        default=Promotion.MANUAL,
        description="Manual (default): a person promotes in MLflow. Automatic: a version whose verdict is Promote gets"
        " promotedAlias.",
    )
    promoted_alias: Alias | None = Field(
        default=None, description=f"Alias of the promoted version. Default: {DEFAULT_PROMOTED_ALIAS}."
    )


# what a 32-bit number of seconds holds
_LONGEST_SECONDS = 2**31 - 1


class OutOfMemoryPolicy(StrEnum):
    """What follows when a training runs out of memory."""

    REPAIR = "Repair"
    FAIL = "Fail"


class RunPolicySpec(SpecModel):
    """How the job runs; may be changed at any time."""

    suspend: bool = Field(default=False, description="true: stop and keep what was learned; false: go on from there.")
    max_restarts: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Attempts after a failure. An interruption from outside counts only when no newer checkpoint was"
        " saved since the last one.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=0,
        le=_LONGEST_SECONDS,
        description="The job fails when it was active for longer, all attempts together; the time while it is suspended"
        " does not count. Absent: no limit.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=_LONGEST_SECONDS,
        description="The job is deleted this long after its end, 0: at once. One that is trained but not published"
        " stays. Absent: never.",
    )
    max_gpu_hours: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="The job saves a checkpoint and fails when training and evaluation took more GPU hours."
        " Absent: no limit.",
    )
    on_out_of_memory: OutOfMemoryPolicy = Field(
        default=OutOfMemoryPolicy.REPAIR,
        description="Repair: the next attempt trains the same rows a step in smaller portions. Fail: the job fails.",
    )


_FIXED = (
    *("runtimeRef", "model", "dataset", "objective", "dpo", "method", "training", "compute", "podOverrides", "storage"),
    *("checkpoints", "trainer", "evaluation", "tracking", "publish"),
)


def _immutable(field: str) -> JsonDict:
    return cel(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot change after creation, only runPolicy can;"
        " create a job with another name, or delete this one first",
    )


class FineTuneJobSpec(SpecModel):
    """What to teach which model, and with what."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(_immutable(field) for field in _FIXED),
            cel(
                "!has(self.storage) || !has(self.storage.modelCache) || !self.model.uri.startsWith('pvc://')"
                " || self.dataset.train.exists(source, has(source.uri) && !source.uri.startsWith('pvc://'))",
                "modelCache is for models and rows of servers; remove it, what lies on a claim is read there",
            ),
            cel(
                "!has(self.method) || self.method.type != 'QLoRA' || !has(self.compute)"
                " || !has(self.compute.strategy) || self.compute.strategy != 'ZeRO3'",
                "ZeRO3 cannot divide the four-bit weights of QLoRA; write ZeRO2, or method LoRA",
            ),
            cel(
                "!has(self.dpo) || (has(self.objective) && self.objective == 'DPO')",
                "dpo is for objective: DPO; add that, or remove dpo",
            ),
            cel(
                "!has(self.objective) || self.objective != 'DPO' || !has(self.training)"
                " || !has(self.training.loss) || self.training.loss != 'AllTokens'",
                "training.loss AllTokens does not go with objective: DPO, which compares answers; leave it out",
            ),
            cel(
                "!has(self.objective) || self.objective != 'DPO' || !has(self.trainer)",
                "a trainer of your own has its own objective; remove objective",
            ),
        )
    )

    runtime_ref: RuntimeRef | None = Field(
        default=None,
        description="The FineTuneRuntime to run with. Default: the one that the platform team marked, else none.",
    )
    model: ModelSpec = Field(description="The base model.")
    dataset: DatasetSpec = Field(description="What the model is taught.")
    objective: Objective = Field(
        default=Objective.SFT,
        description="SFT (default): rows have one answer. DPO: rows have a chosen and a rejected one.",
    )
    dpo: DpoSpec | None = Field(default=None, description="Settings of objective DPO.")
    method: MethodSpec = Field(default=MethodSpec(), description="How the model learns.")
    training: TrainingSpec = Field(
        default_factory=TrainingSpec, description="Settings of the training; absent ones are chosen."
    )
    compute: ComputeSpec = Field(default=ComputeSpec(), description="Pods and devices of the training.")
    pod_overrides: Annotated[tuple[PodOverride, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None = Field(
        default=None, description="Changes to the pods of stages, merged in this order; a later one wins."
    )
    storage: StorageSpec = Field(default_factory=StorageSpec, description="Volumes of the job.")
    checkpoints: CheckpointsSpec = Field(
        default_factory=CheckpointsSpec, description="What is saved while the training goes on."
    )
    trainer: TrainerSpec | None = Field(
        default=None, description="A trainer of your own instead of the built-in one; see docs/guide/own-trainer.md."
    )
    evaluation: EvaluationSpec = Field(
        default_factory=EvaluationSpec, description="What base and tuned model are asked."
    )
    tracking: TrackingSpec = Field(default_factory=TrackingSpec, description="Records of the job.")
    publish: PublishSpec = Field(default=PublishSpec(), description="Where the result goes.")
    run_policy: RunPolicySpec = Field(
        default=RunPolicySpec(), description="How the job runs; may be changed at any time."
    )
