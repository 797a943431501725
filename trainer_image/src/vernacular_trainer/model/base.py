"""The base model and the adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan

ALL_LINEAR = "all-linear"


def load_base(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model from local files alone; code that comes with a model is never run. Raises StageError
    (ModelUnsupported).
    """
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (ValueError, KeyError, OSError) as error:
        raise StageError(
            StageFailure.MODEL_UNSUPPORTED,
            "the base model cannot be loaded",
            "use a causal language model in the Hugging Face format with safetensors weights and no code of its own",
            type(error).__name__,
        ) from error
    return model


def add_adapter(model: PreTrainedModel, plan: ResolvedPlan) -> Any:
    """A LoRA adapter in float32 on a frozen base. Raises StageError (ArgumentRefused) for modules it does not have."""
    targets = plan.lora_target_modules
    configuration = LoraConfig(
        r=plan.lora_rank,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        use_rslora=plan.lora_variant == "RSLoRA",
        use_dora=plan.lora_variant == "DoRA",
        target_modules=ALL_LINEAR if targets == (ALL_LINEAR,) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, configuration)
    except ValueError as error:
        names = ", ".join(sorted({name.rpartition(".")[2] for name, _ in linear_layers(model)}))
        raise StageError(
            StageFailure.ARGUMENT_REFUSED,
            f"method.lora.targetModules {', '.join(targets)} does not fit the model",
            f"choose from its linear layers ({names}), or leave it out for all of them",
        ) from error


def linear_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The linear layers of a model by name, its output layer left out."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [(name, module) for name, module in layers if module is not head]
