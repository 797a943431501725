"""The base model and the adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan

ALL_LINEAR = "all-linear"


def load_base(
    path: Path, dtype: torch.dtype, *, quantized: bool = False, device_map: str | None = None
) -> PreTrainedModel:
    """The model from local files alone; code that comes with a model is never run. `quantized`: its linear layers in
    four bits, computed in `dtype`. `device_map`: "auto" spreads it over the GPUs that there are.

    Raises StageError (ModelUnsupported).
    """
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            quantization_config=_four_bits(dtype) if quantized else None,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            device_map=device_map,
        )
    except (ValueError, KeyError, OSError) as error:
        raise StageError(
            StageFailure.MODEL_UNSUPPORTED,
            "the base model cannot be loaded",
            "use a causal language model in the Hugging Face format with safetensors weights and no code of its own",
            type(error).__name__,
        ) from error
    if quantized:
        _compute_alike_everywhere(model)
    return model


def load_to_ask(folder: Path, *, quantized: bool = False) -> PreTrainedModel:
    """A model in BF16 over all GPUs where there are some, else on the processors in FP32. Raises as load_base."""
    if torch.cuda.is_available():
        return load_base(folder, torch.bfloat16, quantized=quantized, device_map="auto")
    return load_base(folder, torch.float32, quantized=quantized)


def _compute_alike_everywhere(model: PreTrainedModel) -> None:
    """Some processors would evaluate in fewer bits than they train in, on weights that they rearrange for it."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NormalFloat4 with quantised scales, as QLoRA (arXiv:2305.14314, section 3) defines it."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


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
        return _without_copies(get_peft_model(model, configuration), plan)
    except ValueError as error:
        names = ", ".join(sorted({name.rpartition(".")[2] for name, _ in linear_layers(model)}))
        raise StageError(
            StageFailure.ARGUMENT_REFUSED,
            f"method.lora.targetModules {', '.join(targets)} does not fit the model",
            f"choose from its linear layers ({names}), or leave it out for all of them",
        ) from error


def _without_copies(model: Any, plan: ResolvedPlan) -> Any:
    """In 16 bits PEFT makes a float32 copy of the input of every layer, which autocast or DeepSpeed then undo. DoRA
    computes with it.
    """
    if plan.precision != "FP32" and plan.lora_variant != "DoRA":
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = False
    return model


def unwrapped(model: Any) -> Any:
    """The transformer itself, whether it has an adapter or not."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def linear_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The linear layers of a model by name, its output layer left out."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [(name, module) for name, module in layers if module is not head]
