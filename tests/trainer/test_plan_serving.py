"""What servers would refuse is said with the plan."""

from __future__ import annotations

from typing import Any

import pytest

from support.training import plan
from vernacular_trainer.serving import AdapterTraits, servability, served


@pytest.mark.parametrize(
    ("changes", "value", "says"),
    [
        ({"method": "LoRA", "lora_rank": 16}, "as it is", "plain LoRA"),
        ({"method": "LoRA", "lora_rank": 17}, "with changes", "vLLM needs --max-lora-rank 32; so does SGLang, with 17"),
        ({"method": "QLoRA", "lora_rank": 512}, "with changes", "--max-lora-rank 512"),
        ({"method": "LoRA", "lora_rank": 600}, "with changes", "refuses ranks above 512"),
        ({"method": "LoRA", "lora_rank": 8, "lora_variant": "DoRA"}, "with changes", "vLLM and SGLang refuse DoRA"),
        (
            {"lora_rank": 8, "lora_target_modules": ("q_proj", "lm_head")},
            "with changes",
            "LoRA on lm_head for some models",
        ),
        ({"lora_rank": 8, "lora_target_modules": ("model.embed_tokens",)}, "with changes", "on model.embed_tokens for"),
        ({"method": "LoRA", "lora_rank": 8, "lora_variant": "RSLoRA"}, "as it is", "plain LoRA"),
        ({"method": "Full", "lora_rank": 0}, "as it is", "whole model"),
    ],
)
def test_what_a_server_would_refuse_is_known_before_the_training(
    changes: dict[str, Any], value: str, says: str
) -> None:
    found = servability(plan(**changes))

    assert (found.name, found.value) == ("serving", value)
    assert says in found.reason


@pytest.mark.parametrize(
    ("config", "value", "says"),
    [
        ({"r": 8, "modules_to_save": None, "target_modules": ["q_proj"], "bias": "none"}, "as it is", "plain LoRA"),
        ({"r": 8, "modules_to_save": []}, "as it is", "plain LoRA"),
        (
            {"r": 8, "modules_to_save": ["embed_tokens", "lm_head"]},
            "with changes",
            "vLLM refuses modules_to_save (embed_tokens, lm_head), SGLang and TGI pass over it: merge the adapter",
        ),
        ({"r": 64, "use_dora": True}, "with changes", "refuse DoRA, TGI passes over it"),
        ({"r": 64, "use_dora": True}, "with changes", "--max-lora-rank 64"),
        ({"r": 8, "bias": "lora_only"}, "with changes", "vLLM refuses trained biases"),
        ({"r": 8, "target_modules": "lm_head"}, "with changes", "LoRA on lm_head"),
        ({"r": "eight", "target_modules": {"q": 1}, "modules_to_save": 3}, "as it is", "plain LoRA"),
    ],
)
def test_what_a_server_would_refuse_of_an_adapter_that_is_there(config: dict[str, Any], value: str, says: str) -> None:
    found = served(AdapterTraits.of_config(config))

    assert found.value == value
    assert says in found.reason
