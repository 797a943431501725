"""Arguments of transformers.TrainingArguments that a job may set beside its own fields.

Only those are taken that really change the training here: rows, loss, evaluation and checkpoints are this project's
own, and an argument about them would be accepted and ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vernacular_trainer.errors import refused

Value = float | int | bool


@dataclass(frozen=True)
class Argument:
    """How its text is read, which values it may have, and those values in words."""

    read: Callable[[str], Value]
    valid: Callable[[Value], bool]
    values: str


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


ALLOWED: Mapping[str, Argument] = MappingProxyType(
    {
        "adam_beta1": Argument(float, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
        "adam_beta2": Argument(float, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
        "adam_epsilon": Argument(float, lambda value: 0 < value < 1, "a number above 0 and below 1"),
        "neftune_noise_alpha": Argument(float, lambda value: 0 < value <= 100, "a number above 0 and at most 100"),
        "tf32": Argument(_boolean, lambda value: True, "true or false"),
    }
)
# what people look for under the name that it has elsewhere
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "num_train_epochs": "training.epochs",
        "max_steps": "training.maxSteps",
        "learning_rate": "training.learningRate",
        "per_device_train_batch_size": "training.microBatchSize",
        "gradient_accumulation_steps": "training.effectiveBatchSize",
        "max_length": "training.maxSequenceLength",
        "bf16": "training.precision",
        "fp16": "training.precision",
        "optim": "training.optimizer",
        "lr_scheduler_type": "training.scheduler",
        "warmup_ratio": "training.warmupPercent",
        "warmup_steps": "training.warmupPercent",
        "weight_decay": "training.weightDecay",
        "max_grad_norm": "training.maxGradNorm",
        "seed": "training.seed",
        "gradient_checkpointing": "training.gradientCheckpointing",
        "eval_steps": "training.evaluateEverySteps",
        "load_best_model_at_end": "training.keep",
        "save_steps": "checkpoints.everySteps",
        "save_total_limit": "checkpoints.keep",
        "deepspeed": "compute.strategy",
        "run_name": "tracking.mlflow",
        "report_to": "tracking.mlflow",
    }
)


def read_arguments(given: Mapping[str, str], *, gpus: bool) -> dict[str, Value]:
    """The arguments as TrainingArguments takes them. Raises StageError (ArgumentRefused) for others and for values that
    cannot work.
    """
    if "tf32" in given and not gpus:
        raise refused("training.extraArguments.tf32 is a format of GPUs", "remove it where compute.gpusPerPod is 0")
    return {name: _read(name, text) for name, text in sorted(given.items())}


def _read(name: str, text: str) -> Value:
    field = f"training.extraArguments.{name}"
    if name in FIELDS:
        raise refused(f"{field} is a setting of the job itself", f"write it as {FIELDS[name]}")
    if name not in ALLOWED:
        raise refused(f"{field} has no effect here", f"remove it; what can be set is {', '.join(ALLOWED)}")
    argument = ALLOWED[name]
    try:
        value = argument.read(text)
    except (ValueError, KeyError):
        value = math.nan
    if not math.isfinite(value) or not argument.valid(value):
        raise refused(f"{field} {text!r} cannot be used", f"write {argument.values}, in quotes")
    return value
