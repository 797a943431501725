"""The plan in the words of transformers and DeepSpeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ZERO_STAGES, ResolvedPlan

_SCHEDULERS = {"Cosine": "cosine", "Linear": "linear", "Constant": "constant_with_warmup"}
_OPTIMIZERS = {"AdamW": "adamw_torch", "AdamW8bit": "adamw_bnb_8bit", "PagedAdamW8bit": "paged_adamw_8bit"}
_HOST = {"device": "cpu", "pin_memory": True}
_WEIGHTS = {"FP32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16}


def training_arguments(plan: ResolvedPlan, output: Path, device: torch.device) -> TrainingArguments:
    """Arguments for one training. Make them before the model is loaded: ZeRO-3 splits the weights while they are read.

    Logging, evaluation and checkpoints are decided by our own callback, step by step. Raises StageError
    (ArgumentRefused).
    """
    if plan.precision == "FP16" and device.type == "cpu":
        message = "training.precision FP16 needs a GPU"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, "use BF16, FP32 or Auto on processors")
    try:
        return _arguments(plan, output, device)
    except ValueError as error:
        # tf32, bf16: what a GPU is too old for
        advice = "write another precision, and leave out what the message names"
        raise StageError(StageFailure.ARGUMENT_REFUSED, f"the device refuses: {error}", advice) from error


def _arguments(plan: ResolvedPlan, output: Path, device: torch.device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(output),
        max_steps=plan.total_steps,
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.accumulation,
        activation_checkpointing=plan.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=plan.learning_rate,
        lr_scheduler_type=_SCHEDULERS[plan.scheduler],
        warmup_steps=plan.warmup_steps,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_grad_norm,
        optim=_OPTIMIZERS[plan.optimizer],
        seed=plan.seed,
        bf16=plan.precision == "BF16",
        fp16=plan.precision == "FP16",
        use_cpu=device.type == "cpu",
        deepspeed=deepspeed_config(plan),
        ddp_find_unused_parameters=False,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        logging_nan_inf_filter=False,
        # the sampler starts at the exact row by itself
        ignore_data_skip=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        **plan.extra_arguments,
    )


def deepspeed_config(plan: ResolvedPlan) -> dict[str, Any] | None:
    """DeepSpeed's settings; None for DDP. "auto" values are filled in from the training arguments."""
    if plan.strategy not in ZERO_STAGES:
        return None
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": ZERO_STAGES[plan.strategy],
            # without it a saved model is empty under ZeRO-3
            "stage3_gather_16bit_weights_on_model_save": True,
            **({"offload_optimizer": _HOST} if plan.offload != "None" else {}),
            **({"offload_param": _HOST} if plan.offload == "OptimizerAndParameters" else {}),
        },
        # the optimizer is torch's own AdamW, so that the strategies agree
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }


def weights_dtype(plan: ResolvedPlan) -> torch.dtype:
    """In which type the base model is loaded.

    A frozen base needs no more than the precision of the computation; weights that are trained are kept in float32,
    because small updates vanish in 16 bits.
    """
    return _WEIGHTS[plan.precision] if plan.makes_adapter else torch.float32
