"""What common servers would refuse about an adapter, or need an option for. Pure.

vLLM, vllm/lora/peft_helper.py (validate_legal) and vllm/config/lora.py: no DoRA, no modules_to_save, ranks up to
--max-lora-rank, whose default is 16 and whose largest value 512; vllm/lora/utils.py: no weights but those of LoRA.
SGLang, python/sglang/srt/lora: no DoRA; ranks up to --max-lora-rank and modules of --lora-target-modules, both by
default those of the adapters that it is started with. Text Generation Inference,
server/text_generation_server/adapters/lora.py, reads rank, alpha and the matrices of attention and MLP, and passes over
everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vernacular_trainer.contract import PlanValue
from vernacular_trainer.plan import ResolvedPlan

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_VLLM_DEFAULT_RANK = 16
# how models name what their tokens go in and come out by
_ENDS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings", "output_embeddings")
_MERGE = "merge the adapter into the base"

WHOLE_MODEL = PlanValue("serving", "as it is", "a whole model in the Hugging Face format")


@dataclass(frozen=True)
class AdapterTraits:
    """What servers look at. `whole`: modules that were trained whole, not by LoRA; `targets`: those with LoRA."""

    rank: int
    dora: bool = False
    whole: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    bias: bool = False

    @classmethod
    def of_plan(cls, plan: ResolvedPlan) -> AdapterTraits:
        """Of the adapter that a training will make."""
        return cls(plan.lora_rank, plan.lora_variant == "DoRA", targets=plan.lora_target_modules)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> AdapterTraits:
        """Of an adapter that is there, by its adapter_config.json; what is not as PEFT writes it counts as absent."""
        rank = config.get("r")
        return cls(
            rank if isinstance(rank, int) else 0,
            bool(config.get("use_dora")),
            _names(config.get("modules_to_save")),
            _names(config.get("target_modules")),
            config.get("bias", "none") != "none",
        )


def servability(plan: ResolvedPlan) -> PlanValue:
    """Whether the result can be served as it is, and what it takes where it cannot."""
    if not plan.makes_adapter:
        return WHOLE_MODEL
    return served(AdapterTraits.of_plan(plan))


def served(adapter: AdapterTraits) -> PlanValue:
    """Whether an adapter can be served as it is, and what it takes where it cannot."""
    if found := list(_hindrances(adapter)):
        return PlanValue("serving", "with changes", "; ".join(found))
    return PlanValue("serving", "as it is", "a plain LoRA adapter, which vLLM, SGLang, TGI and PEFT load")


def _hindrances(adapter: AdapterTraits) -> Iterator[str]:
    if adapter.dora:
        yield f"vLLM and SGLang refuse DoRA, TGI passes over it: {_MERGE}, or choose another variant"
    if adapter.whole:
        names = ", ".join(adapter.whole)
        yield f"vLLM refuses modules_to_save ({names}), SGLang and TGI pass over it: {_MERGE}"
    if adapter.bias:
        yield f"vLLM refuses trained biases, SGLang and TGI pass over them: {_MERGE}"
    if ends := [name for name in adapter.targets if name.rpartition(".")[2] in _ENDS]:
        names = ", ".join(ends)
        yield f"vLLM serves LoRA on {names} for some models only, and TGI passes over it: {_MERGE}"
    if adapter.rank > _VLLM_RANKS[-1]:
        yield f"vLLM refuses ranks above {_VLLM_RANKS[-1]}: {_MERGE}"
    elif adapter.rank > _VLLM_DEFAULT_RANK:
        rank = next(rank for rank in _VLLM_RANKS if rank >= adapter.rank)
        yield f"vLLM needs --max-lora-rank {rank}; so does SGLang, with {adapter.rank}, when it loads the adapter later"


def _names(value: Any) -> tuple[str, ...]:
    """Modules as PEFT writes them: a list, or one pattern."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
