"""Makes a training fit into the memory of its GPUs, or says what would. Pure.

What a user wrote is never changed: only values that were left open are, and where that is not enough, alternatives are
named that can be written down as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from vernacular_trainer.contract import ComputeConfig, JobConfig, StageFailure, TrainingConfig
from vernacular_trainer.errors import StageError
from vernacular_trainer.memory import CPU, GIB, GPU, Memory, RowSizes, predict
from vernacular_trainer.model_shape import ModelShape
from vernacular_trainer.plan import ResolvedPlan

# what dividing the work and computing activations twice cost in time, the cheapest first: ZeRO-2 moves the same bytes
# as DDP, ZeRO-3 half as many again (arXiv:1910.02054, section 7), recomputation is a third more of the work
_BY_COST = (
    ("DDP", False),
    ("ZeRO1", False),
    ("ZeRO2", False),
    ("DDP", True),
    ("ZeRO1", True),
    ("ZeRO2", True),
    ("ZeRO3", False),
    ("ZeRO3", True),
)
_CHOSEN = ("DDP", "ZeRO2", "ZeRO3")
_MOST_ALTERNATIVES = 3
_SHORTEST_SEQUENCE = 256
_MOST_GPUS_PER_POD = 8
_MOST_PODS = 64


@dataclass(frozen=True)
class Situation:
    """The model and the rows of a training. `shape`: None when the model's config.json does not tell its sizes."""

    shape: ModelShape | None
    sizes: RowSizes


@dataclass(frozen=True)
class Fit:
    """A plan, what it needs, and what it would have needed with the values that are chosen without a memory limit."""

    plan: ResolvedPlan
    memory: Memory | None
    before: Memory | None = None


def memory_of(plan: ResolvedPlan, situation: Situation, *, gpu: bool) -> Memory | None:
    """What one rank needs; None when the model does not tell its sizes."""
    if situation.shape is None:
        return None
    batch = situation.sizes.largest(plan.micro_sequences, plan.max_sequence_length, packed=plan.packing)
    return predict(situation.shape, plan, batch, GPU if gpu else CPU)


def fit(plan: ResolvedPlan, config: JobConfig, situation: Situation) -> Fit | None:
    """The plan, or the cheapest one with other values for what the job leaves open; None when none of them fits.

    Without a known memory, or a model that tells its sizes, the plan is as good as it came.
    """
    memory = memory_of(plan, situation, gpu=config.compute.gpus_per_pod > 0)
    if memory is None or memory.total <= available(config.compute):
        return Fit(plan, memory)
    for candidate in _candidates(plan, config):
        needed = memory_of(candidate, situation, gpu=True)
        if needed and needed.total <= available(config.compute):
            return Fit(candidate, needed, before=memory)
    return None


def available(compute: ComputeConfig) -> float:
    """Bytes of each GPU; without end when they are not known, or the training runs on processors."""
    return compute.gpu_memory_gib * GIB if compute.gpus_per_pod and compute.gpu_memory_gib else float("inf")


def _candidates(plan: ResolvedPlan, config: JobConfig) -> Iterator[ResolvedPlan]:
    training, compute = config.training, config.compute
    strategies = _CHOSEN if compute.strategy is None and plan.world_size > 1 else (plan.strategy,)
    checkpointing = (
        (False, True) if training.gradient_checkpointing in (None, "Auto") else (plan.gradient_checkpointing,)
    )
    share = plan.micro_batch_size * plan.accumulation
    open_sizes = [size for size in range(plan.micro_batch_size, 0, -1) if share % size == 0]
    sizes = open_sizes if training.micro_batch_size is None else [plan.micro_batch_size]
    for (strategy, recompute), size in product(_BY_COST, sizes):
        if plan.quantizes and strategy == "ZeRO3":
            continue
        if strategy in strategies and recompute in checkpointing:
            yield replace(
                plan,
                strategy=strategy,
                gradient_checkpointing=recompute,
                micro_batch_size=size,
                accumulation=share // size,
            )


# alternatives

Resolve = Callable[[JobConfig], Fit | None]


@dataclass(frozen=True)
class Alternative:
    """Settings to write, in the words of the resource, and the bytes that one rank then needs."""

    settings: tuple[str, ...]
    needed: int

    def __str__(self) -> str:
        return f"{' and '.join(self.settings)} ({self.needed / GIB:.1f} GiB)"


def alternatives(config: JobConfig, length: int, resolve: Resolve) -> tuple[Alternative, ...]:
    """Up to three changes that make the training fit, each of another kind, those that cost the user least first.

    `length`: of the rows now, in tokens; `resolve` gives the fitted plan of a job, None when it does not fit.
    """
    released = _first_that_fits(config, _released(config), resolve)
    # where it is enough to change what the user wrote about memory, the others are for who wants to keep that
    bases = (config,) if released else (config, _open(config))
    kinds = (_more_gpus(bases), _adapter(bases), _shorter(bases, length))
    found = (released, *(_first_that_fits(config, kind, resolve) for kind in kinds))
    return tuple(item for item in found if item)[:_MOST_ALTERNATIVES]


def does_not_fit(config: JobConfig, needed: Memory, found: tuple[Alternative, ...]) -> StageError:
    """The failure, with both figures and what to write instead."""
    compute = config.compute
    advice = "write " + "; or ".join(str(item) for item in found) if found else ""
    return StageError(
        StageFailure.DOES_NOT_FIT,
        f"the training needs {needed.total / GIB:.2f} GiB of each GPU, which has {compute.gpu_memory_gib}",
        advice or "no setting was found that fits: take GPUs with more memory, or a smaller base model",
    )


def _first_that_fits(config: JobConfig, kind: Iterator[JobConfig], resolve: Resolve) -> Alternative | None:
    for changed in kind:
        try:
            fitted = resolve(changed)
        except StageError:
            # an effective batch size that does not divide by these ranks
            continue
        if fitted and fitted.memory:
            return Alternative(_differences(config, changed, fitted.plan), fitted.memory.total)
    return None


def _differences(config: JobConfig, changed: JobConfig, plan: ResolvedPlan) -> tuple[str, ...]:
    """What to write, or to write otherwise. What is open in the job is chosen again, and need not be written."""
    training, compute = config.training, config.compute
    wanted = {
        "method.type": (config.method.type, changed.method.type),
        "compute.pods": (compute.pods, changed.compute.pods),
        "compute.gpusPerPod": (compute.gpus_per_pod, changed.compute.gpus_per_pod),
        "training.maxSequenceLength": (training.max_sequence_length, changed.training.max_sequence_length),
        "training.microBatchSize": (training.micro_batch_size, training.micro_batch_size and plan.micro_batch_size),
        "training.gradientCheckpointing": (
            training.gradient_checkpointing == "On",
            training.gradient_checkpointing == "On" or (_written(training) and plan.gradient_checkpointing),
        ),
        "compute.strategy": (compute.strategy, compute.strategy and plan.strategy),
    }
    names = {True: "On", False: "Off"}
    return tuple(
        f"{name}: {names[after] if isinstance(after, bool) else after}"
        for name, (before, after) in wanted.items()
        if before != after
    )


def _written(training: TrainingConfig) -> bool:
    return training.gradient_checkpointing not in (None, "Auto")


def _released(config: JobConfig) -> Iterator[JobConfig]:
    """Left open what the user wrote about memory, one thing at a time, then everything."""
    training, compute = config.training, config.compute
    without_micro = replace(training, micro_batch_size=None)
    without_off = replace(training, gradient_checkpointing=None)
    open_compute = replace(compute, strategy=None)
    yield replace(config, training=without_micro)
    yield replace(config, compute=open_compute)
    yield replace(config, training=without_off)
    yield replace(config, training=replace(without_micro, gradient_checkpointing=None))
    yield _open(config)


def _open(config: JobConfig) -> JobConfig:
    training = replace(config.training, micro_batch_size=None, gradient_checkpointing=None)
    return replace(config, training=training, compute=replace(config.compute, strategy=None))


def _more_gpus(bases: Sequence[JobConfig]) -> Iterator[JobConfig]:
    """More GPUs in each pod, then more pods, each time twice as many."""
    gpus, pods = bases[0].compute.gpus_per_pod, bases[0].compute.pods
    while gpus < _MOST_GPUS_PER_POD or pods < _MOST_PODS:
        gpus, pods = (min(gpus * 2, _MOST_GPUS_PER_POD), pods) if gpus < _MOST_GPUS_PER_POD else (gpus, pods * 2)
        for base in bases:
            yield replace(base, compute=replace(base.compute, gpus_per_pod=gpus, processes_per_pod=gpus, pods=pods))


def _adapter(bases: Sequence[JobConfig]) -> Iterator[JobConfig]:
    """LoRA instead of Full, then QLoRA."""
    for method in ("LoRA", "QLoRA"):
        for base in bases:
            if base.method.type != method and not base.method.quantizes:
                yield replace(base, method=replace(base.method, type=method))


def _shorter(bases: Sequence[JobConfig], length: int) -> Iterator[JobConfig]:
    """Shorter rows, each time half as long."""
    while length >= 2 * _SHORTEST_SEQUENCE:
        length //= 2
        for base in bases:
            yield replace(base, training=replace(base.training, max_sequence_length=length))
