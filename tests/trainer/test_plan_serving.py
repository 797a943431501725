"""What servers would refuse is said with the plan."""

from __future__ import annotations

from typing import Any

import pytest

from support.training import plan
from vernacular_trainer.serving import servability


@pytest.mark.parametrize(
    ("changes", "value", "says"),
    [
        ({"method": "LoRA", "lora_rank": 16}, "as it is", "plain LoRA"),
        ({"method": "LoRA", "lora_rank": 17}, "with changes", "--max-lora-rank 32"),
        ({"method": "QLoRA", "lora_rank": 512}, "with changes", "--max-lora-rank 512"),
        ({"method": "LoRA", "lora_rank": 600}, "with changes", "refuses ranks above 512"),
        ({"method": "LoRA", "lora_rank": 8, "lora_variant": "DoRA"}, "with changes", "refuses DoRA"),
        ({"method": "LoRA", "lora_rank": 8, "lora_variant": "RSLoRA"}, "as it is", "plain LoRA"),
        ({"method": "Full", "lora_rank": 0}, "as it is", "whole model"),
    ],
)
def test_what_a_server_would_refuse(changes: dict[str, Any], value: str, says: str) -> None:
    found = servability(plan(**changes))

    assert (found.name, found.value) == ("serving", value)
    assert says in found.reason
