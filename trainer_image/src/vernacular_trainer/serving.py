"""What common servers would refuse about an adapter, said before anything is trained. Pure.

vLLM, vllm/lora/peft_helper.py (validate_legal) and vllm/config/lora.py: no DoRA, ranks up to max_lora_rank, whose
default is 16.
"""

from __future__ import annotations

from vernacular_trainer.contract import PlanValue
from vernacular_trainer.plan import ResolvedPlan

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_VLLM_DEFAULT_RANK = 16


def servability(plan: ResolvedPlan) -> PlanValue:
    """Whether the result can be served as it is, and what it takes where it cannot."""
    if not plan.makes_adapter:
        return PlanValue("serving", "as it is", "a whole model in the Hugging Face format")
    refused = []
    if plan.lora_variant == "DoRA":
        refused.append("vLLM refuses DoRA: merge the adapter into the base, or choose another variant")
    if plan.lora_rank > _VLLM_RANKS[-1]:
        refused.append(f"vLLM refuses ranks above {_VLLM_RANKS[-1]}: merge the adapter into the base")
    elif plan.lora_rank > _VLLM_DEFAULT_RANK:
        rank = next(rank for rank in _VLLM_RANKS if rank >= plan.lora_rank)
        refused.append(f"vLLM needs --max-lora-rank {rank}")
    if refused:
        return PlanValue("serving", "with changes", "; ".join(refused))
    return PlanValue("serving", "as it is", "a plain LoRA adapter, which vLLM and PEFT load")
