"""Chooses every setting that the user left open, and says why. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vernacular_trainer.contract import (
    CheckpointsConfig,
    ComputeConfig,
    JobConfig,
    MethodConfig,
    PlanValue,
    TrainingConfig,
)
from vernacular_trainer.errors import refused
from vernacular_trainer.extra_arguments import Value, read_arguments
from vernacular_trainer.fitting import Fit, Situation, alternatives, does_not_fit, fit, memory_of
from vernacular_trainer.memory import GIB, Memory
from vernacular_trainer.plan import ZERO_STAGES, ResolvedPlan

SEQUENCE_CAP = 4096
MEMORY = "memoryGiB"
ALL_TOKENS = "AllTokens"
DEFAULT_SEED = 42
DEFAULT_EPOCHS = 3
DEFAULT_WARMUP_PERCENT = 3
DEFAULT_PATIENCE = 3
# what DeepSpeed can keep in the memory of the host, and with which strategies
OFFLOADS = {"Optimizer": tuple(ZERO_STAGES), "OptimizerAndParameters": ("ZeRO3",)}
KEEP_CHECKPOINTS = 2
CHECKPOINTS_PER_TRAINING = 5
# tokens of one micro batch: what fits small devices and keeps large ones busy
_MICRO_BATCH_TOKENS = {"cpu": 4096, "gpu": 8192}
# packed rows have so many together on average, and at most this many times as many
_PACKED_AT_MOST = 4
_GIVEN = "as written in the job"
_METHODS = {
    "LoRA": "small result, keeps what the base model knows",
    "QLoRA": "as LoRA, with the base in a quarter of the memory",
    "Full": _GIVEN,
}
_OBJECTIVES = {"SFT": "learns to answer as the rows do", "DPO": "learns which of two answers is better"}
_LEARNING_RATES = {("SFT", "LoRA"): 2e-4, ("SFT", "Full"): 2e-5, ("DPO", "LoRA"): 2e-5, ("DPO", "Full"): 1e-6}
_OPEN = "Auto"

T = TypeVar("T")


@dataclass(frozen=True)
class DataFacts:
    """What prepare found: rows after splitting, the longest row and the model's limit in tokens (0: none known).

    `situation`: what memory depends on; None: it is not predicted.
    """

    train_rows: int
    validation_rows: int
    longest_row: int
    model_limit: int
    situation: Situation | None = None


@dataclass(frozen=True)
class Resolution:
    """The plan with the reason of each value, and what one rank needs of memory (None: not predicted)."""

    plan: ResolvedPlan
    values: tuple[PlanValue, ...]
    memory: Memory | None = None


@dataclass(frozen=True)
class Batch:
    """Rows per optimizer step over all ranks, rows per rank and pass, passes per step."""

    effective: int
    micro: int
    accumulation: int


class _Reasons:
    """Collects name, value and reason of each setting in the order in which they are decided."""

    def __init__(self) -> None:
        self.values: list[PlanValue] = []

    def note(self, name: str, value: T, reason: str) -> T:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        self.values.append(PlanValue(name, text, reason))
        return value

    def choose(self, name: str, given: T | None, default: Callable[[], tuple[T, str]]) -> T:
        if given is not None and given != _OPEN:
            return self.note(name, given, _GIVEN)
        return self.note(name, *default())


def sequence_length(training: TrainingConfig, longest_row: int, model_limit: int) -> tuple[int, str]:
    """Longest sequence to train, in tokens, and why. Raises StageError (ArgumentRefused) beyond the model's limit."""
    given = training.max_sequence_length
    if given is not None:
        if model_limit and given > model_limit:
            what = f"training.maxSequenceLength {given} is beyond the model's limit"
            raise refused(what, f"write {model_limit} or less")
        return given, _GIVEN
    rounded = math.ceil(longest_row / 64) * 64
    options = [(rounded, f"the longest row has {longest_row} tokens"), (SEQUENCE_CAP, "longest by default")]
    if model_limit:
        options.append((model_limit, "the model's limit"))
    return min(options)


def resolve(config: JobConfig, facts: DataFacts) -> Resolution:
    """The complete plan of a training and the reason of each value.

    Raises StageError: ArgumentRefused for values that cannot work, with the nearest that can; DoesNotFit for what needs
    more memory than the GPUs have, with settings that fit.
    """
    plan, values = _chosen(config, facts)
    situation = facts.situation
    if situation is None:
        return Resolution(plan, values)

    def fitted(changed: JobConfig) -> Fit | None:
        return fit(_chosen(changed, facts)[0], changed, situation)

    found = fit(plan, config, situation)
    if found is None:
        needed = memory_of(plan, situation, gpu=True)
        assert needed is not None
        raise does_not_fit(config, needed, alternatives(config, plan.max_sequence_length, fitted))
    return Resolution(found.plan, _with_memory(values, config.compute, plan, found), found.memory)


def _with_memory(
    values: tuple[PlanValue, ...], compute: ComputeConfig, chosen: ResolvedPlan, found: Fit
) -> tuple[PlanValue, ...]:
    """The values with those that were changed to fit, and the prediction."""
    if found.memory is None:
        return values
    changed = {
        "strategy": (chosen.strategy, found.plan.strategy),
        "microBatchSize": (chosen.micro_batch_size, found.plan.micro_batch_size),
        "accumulation": (chosen.accumulation, found.plan.accumulation),
        "gradientCheckpointing": (_switch(chosen.gradient_checkpointing), _switch(found.plan.gradient_checkpointing)),
    }
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    needed = f"{found.before.total / GIB:.1f} of {compute.gpu_memory_gib} GiB were needed" if found.before else ""
    kept = tuple(
        PlanValue(item.name, str(changed[item.name][1]), f"not {changed[item.name][0]}: {needed}")
        if item.name in changed
        else item
        for item in values
    )
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in dataclasses.asdict(found.memory).items() if size)
    return (*kept, PlanValue(MEMORY, f"{found.memory.total / GIB:.2f}", f"of each rank: {parts}"))


def _switch(on: bool) -> str:
    return "On" if on else "Off"


def _chosen(config: JobConfig, facts: DataFacts) -> tuple[ResolvedPlan, tuple[PlanValue, ...]]:
    """The plan that is chosen without a look at memory."""
    training, compute, reasons = config.training, config.compute, _Reasons()
    note = reasons.note
    objective = config.objective
    note("objective", objective.type, _OBJECTIVES[objective.type])
    beta = _beta(config, reasons)
    note("method", config.method.type, _METHODS[config.method.type])
    reasons.choose("loss", training.loss, lambda: ("AnswersOnly", "the model is to answer, not to ask"))
    length = note("maxSequenceLength", *sequence_length(training, facts.longest_row, facts.model_limit))
    packing = _packing(training, facts.situation, length, reasons)
    batch = _batch(training, compute, facts.train_rows, _row_tokens(config, facts.situation, length, packing), reasons)
    epochs, steps = _steps(training, facts.train_rows, batch.effective, reasons)
    warmup = training.warmup_percent if training.warmup_percent is not None else DEFAULT_WARMUP_PERCENT
    lora = _lora(config.method, reasons)
    held_out = _HeldOut.of(training, facts.validation_rows, reasons)
    plan = ResolvedPlan(
        method=config.method.type,
        strategy=_strategy(config, reasons),
        world_size=note("worldSize", compute.world_size, _ranks(compute)),
        epochs=epochs,
        total_steps=steps,
        learning_rate=_learning_rate(config, reasons),
        effective_batch_size=batch.effective,
        micro_batch_size=batch.micro,
        accumulation=batch.accumulation,
        max_sequence_length=length,
        precision=_precision(training, compute, reasons),
        scheduler=reasons.choose("scheduler", training.scheduler, lambda: ("Cosine", "default")),
        warmup_steps=note("warmupSteps", round(steps * warmup / 100), f"{warmup} % of the steps"),
        weight_decay=_number(training.weight_decay, "weightDecay", 0.0, reasons),
        max_grad_norm=_number(training.max_grad_norm, "maxGradNorm", 1.0, reasons),
        seed=reasons.choose("seed", training.seed, lambda: (DEFAULT_SEED, "default")),
        checkpoint_every_steps=_interval("checkpointEverySteps", config.checkpoints.every_steps, steps, reasons),
        evaluate_every_steps=_interval("evaluateEverySteps", training.evaluate_every_steps, steps, reasons),
        keep_checkpoints=_keep(config.checkpoints, reasons),
        objective=objective.type,
        beta=beta,
        optimizer=_optimizer(training, compute, reasons),
        offload=_offload(compute, reasons),
        extra_arguments=_extra_arguments(training, compute, reasons),
        keep=held_out.keep,
        patience=held_out.patience,
        min_delta=held_out.min_delta,
        gradient_checkpointing=_gradient_checkpointing(training, reasons),
        packing=packing,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_target_modules=lora.targets,
        lora_variant=lora.variant,
    )
    return plan, tuple(reasons.values)


def summarise(plan: ResolvedPlan, *, with_steps: bool = True) -> str:
    """The plan in one sentence."""
    name = "LoRA" if plan.lora_variant == "Standard" else plan.lora_variant
    method = f"{name} rank {plan.lora_rank}{', base in 4 bits' if plan.quantizes else ''}" if plan.lora_rank else "Full"
    objective = "DPO, " if plan.compares else ""
    steps = f"{plan.total_steps} steps of {plan.effective_batch_size} rows, " if with_steps else ""
    return (
        f"{objective}{method}, {steps}"
        f"learning rate {plan.learning_rate:g}, "
        f"{plan.max_sequence_length} tokens, {plan.precision}, {plan.strategy} on {plan.world_size}"
    )


def _packing(training: TrainingConfig, situation: Situation | None, length: int, reasons: _Reasons) -> bool:
    shape = situation and situation.shape
    packs, reason = False, _GIVEN
    if training.packing != "Off":
        if not (shape and shape.attends_only):
            reason = "not every layer of the model is known to keep packed rows apart"
        elif 0 < shape.window < length:
            reason = f"the model attends to {shape.window} tokens at a time, fewer than rows have"
        elif "neftune_noise_alpha" in training.extra_arguments:
            reason = "NEFTune's noise would become less with the length of a packed batch"
        else:
            packs, reason = True, "no padding is computed, the losses are the same"
    reasons.note("packing", _switch(packs), reason)
    return packs


def _row_tokens(config: JobConfig, situation: Situation | None, length: int, packing: bool) -> int:
    """By how many tokens of a row the micro batch is chosen: the longest row's where all are padded to it."""
    # both answers of a pair are computed together
    sequences = 2 if config.objective.compares else 1
    if not (packing and situation):
        return length * sequences
    return math.ceil(max(min(situation.sizes.mean, length), length / _PACKED_AT_MOST)) * sequences


def _batch(training: TrainingConfig, compute: ComputeConfig, rows: int, length: int, reasons: _Reasons) -> Batch:
    world, micro = compute.world_size, training.micro_batch_size
    effective = training.effective_batch_size
    unit = world * (micro or 1)
    if effective is None:
        wanted = 8 if rows < 512 else 16 if rows < 4096 else 32
        effective, reason = math.ceil(wanted / unit) * unit, f"for {rows} rows, divisible by {unit}"
    else:
        _check_divisible(effective, unit, world, micro)
        reason = _GIVEN
    reasons.note("effectiveBatchSize", effective, reason)
    share = effective // world
    if micro is None:
        tokens = _MICRO_BATCH_TOKENS["gpu" if compute.gpus_per_pod else "cpu"]
        micro = max(size for size in range(1, share + 1) if share % size == 0 and size <= max(1, tokens // length))
        reasons.note("microBatchSize", micro, f"about {tokens} tokens at once, or less")
    else:
        reasons.note("microBatchSize", micro, _GIVEN)
    accumulation = reasons.note("accumulation", share // micro, "completes the effective batch")
    return Batch(effective, micro, accumulation)


def _strategy(config: JobConfig, reasons: _Reasons) -> str:
    if config.method.quantizes and config.compute.strategy == "ZeRO3":
        raise refused("ZeRO3 cannot divide the four-bit weights of QLoRA", "write ZeRO2, or method LoRA")
    return reasons.choose("strategy", config.compute.strategy, lambda: ("DDP", "simplest that fits"))


def _gradient_checkpointing(training: TrainingConfig, reasons: _Reasons) -> bool:
    default = ("Off", "faster; turned on by itself when memory runs out")
    return reasons.choose("gradientCheckpointing", training.gradient_checkpointing, lambda: default) == "On"


def _interval(name: str, given: int | None, steps: int, reasons: _Reasons) -> int:
    fifth = max(1, steps // CHECKPOINTS_PER_TRAINING)
    return reasons.choose(name, given, lambda: (fifth, "a fifth of the training"))


def _keep(checkpoints: CheckpointsConfig, reasons: _Reasons) -> int:
    return reasons.choose("keepCheckpoints", checkpoints.keep, lambda: (KEEP_CHECKPOINTS, "default"))


def _check_divisible(effective: int, unit: int, world: int, micro: int | None) -> None:
    if effective % unit == 0:
        return
    below, above = effective // unit * unit, math.ceil(effective / unit) * unit
    options = f"{below} or {above}" if below else f"{above}"
    times = f"{world} processes" + (f" x microBatchSize {micro}" if micro else "")
    raise refused(f"training.effectiveBatchSize {effective} is not divisible by {times}", f"write {options}")


def _steps(training: TrainingConfig, rows: int, effective: int, reasons: _Reasons) -> tuple[int, int]:
    per_epoch = math.ceil(rows / effective)
    if training.max_steps is not None:
        epochs = math.ceil(training.max_steps / per_epoch)
        reasons.note("epochs", epochs, f"{training.max_steps} steps over {rows} rows")
        return epochs, reasons.note("totalSteps", training.max_steps, _GIVEN)
    epochs = reasons.choose("epochs", training.epochs, lambda: (DEFAULT_EPOCHS, "default"))
    return epochs, reasons.note("totalSteps", epochs * per_epoch, f"{per_epoch} per epoch")


def _beta(config: JobConfig, reasons: _Reasons) -> float:
    """DPO's beta; 0 for other objectives."""
    objective = config.objective
    if not objective.compares:
        return 0.0
    if config.training.loss == ALL_TOKENS:
        raise refused("training.loss AllTokens does not go with objective DPO", "leave it out: answers are compared")
    given = _parse(objective.beta, "dpo.beta")
    if given == 0.0:
        raise refused("dpo.beta is 0, so nothing would be learnt", 'write "0.1", or leave it out')
    return reasons.choose("beta", given, lambda: (0.1, "usual for DPO"))


def _learning_rate(config: JobConfig, reasons: _Reasons) -> float:
    kind = "DPO with " if config.objective.compares else ""
    method = "LoRA" if config.method.makes_adapter else "Full"
    default = (_LEARNING_RATES[config.objective.type, method], f"usual for {kind}{method}")
    given = _parse(config.training.learning_rate, "training.learningRate")
    if given == 0.0:
        raise refused("training.learningRate is 0, so nothing would be learnt", f"write {default[0]:g}, or omit it")
    return reasons.choose("learningRate", given, lambda: default)


def _number(given: str | None, name: str, default: float, reasons: _Reasons) -> float:
    return reasons.choose(name, _parse(given, f"training.{name}"), lambda: (default, "default"))


def _parse(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise refused(f"{name} {text!r} is not a number of at least 0", 'write it like "2e-4" or "0.1"')
    return value


def _precision(training: TrainingConfig, compute: ComputeConfig, reasons: _Reasons) -> str:
    if not compute.gpus_per_pod and training.precision == "FP16":
        raise refused("training.precision FP16 needs a GPU", "write FP32 or BF16, or omit it")
    default = ("BF16", "a GPU") if compute.gpus_per_pod else ("FP32", "no GPU")
    return reasons.choose("precision", training.precision, lambda: default)


@dataclass(frozen=True)
class _HeldOut:
    """What the losses on the rows that were kept back decide."""

    keep: str
    patience: int = 0
    min_delta: float = 0.0

    @classmethod
    def of(cls, training: TrainingConfig, rows: int, reasons: _Reasons) -> _HeldOut:
        early = training.early_stopping
        for name, asked in (("keep Best", training.keep == "Best"), ("earlyStopping", early is not None)):
            if asked and not rows:
                what = f"training.{name} goes by the loss on rows that were kept back, and there are none"
                raise refused(what, "raise dataset.validation.splitPercent, or leave it out")
        if early is None:
            return cls(reasons.choose("keep", training.keep, lambda: ("Last", "default")))
        best = ("Best", "the training goes on past its best step before it ends early")
        return cls(
            keep=reasons.choose("keep", training.keep, lambda: best),
            patience=reasons.choose("patience", early.patience, lambda: (DEFAULT_PATIENCE, "default")),
            min_delta=_number(early.min_delta, "minDelta", 0.0, reasons),
        )


@dataclass(frozen=True)
class _LoRA:
    rank: int = 0
    alpha: int = 0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    variant: str = "Standard"


def _lora(method: MethodConfig, reasons: _Reasons) -> _LoRA:
    if not method.makes_adapter:
        return _LoRA()
    rank = reasons.choose("rank", method.rank, lambda: (16, "default"))
    variant = reasons.choose("variant", method.variant, lambda: ("Standard", "default"))
    alpha = reasons.choose("alpha", method.alpha, lambda: _alpha(rank, variant))
    dropout = reasons.choose("dropoutPercent", method.dropout_percent, lambda: (0, "default"))
    targets = method.target_modules or ("all-linear",)
    reasons.note("targetModules", ",".join(targets), _GIVEN if method.target_modules else "default")
    return _LoRA(rank, alpha, dropout / 100, targets, variant)


def _alpha(rank: int, variant: str) -> tuple[int, str]:
    """What scales the adapter by 2: LoRA divides alpha by the rank, RSLoRA (arXiv:2312.03732) by its square root."""
    if variant == "RSLoRA":
        return round(2 * math.sqrt(rank)), "twice the square root of the rank"
    return 2 * rank, "twice the rank"


def _optimizer(training: TrainingConfig, compute: ComputeConfig, reasons: _Reasons) -> str:
    if training.optimizer == "PagedAdamW8bit" and not compute.gpus_per_pod:
        raise refused("training.optimizer PagedAdamW8bit pages the memory of a GPU", "write AdamW8bit, or omit it")
    if training.optimizer in ("AdamW8bit", "PagedAdamW8bit") and compute.offload != "None":
        what = (
            f"training.optimizer {training.optimizer} and compute.offload save the same memory and exclude each other"
        )
        raise refused(what, "write one of them")
    return reasons.choose("optimizer", training.optimizer, lambda: ("AdamW", "default"))


def _extra_arguments(training: TrainingConfig, compute: ComputeConfig, reasons: _Reasons) -> dict[str, Value]:
    arguments = read_arguments(training.extra_arguments, gpus=compute.gpus_per_pod > 0)
    return {name: reasons.note(f"extraArguments.{name}", value, _GIVEN) for name, value in arguments.items()}


def _offload(compute: ComputeConfig, reasons: _Reasons) -> str:
    if compute.offload == "None":
        return compute.offload
    if compute.strategy not in OFFLOADS[compute.offload]:
        what = f"compute.offload {compute.offload} does not go with strategy {compute.strategy or 'DDP'}"
        raise refused(what, f"write strategy {' or '.join(OFFLOADS[compute.offload])}")
    return reasons.note("offload", compute.offload, _GIVEN)


def _ranks(compute: ComputeConfig) -> str:
    pods = "1 pod" if compute.pods == 1 else f"{compute.pods} pods"
    return f"{pods} with {compute.processes_per_pod} each"
