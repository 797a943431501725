"""The resolved settings of a training: every value that the user left open is chosen here, with the reason.

No torch: prepare resolves the plan on a CPU pod, train follows it to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from vernacular_trainer.contract import ContractError, RepairConfig

# strategies that are DeepSpeed's, and its number of each
ZERO_STAGES = {"ZeRO1": 1, "ZeRO2": 2, "ZeRO3": 3}


@dataclass(frozen=True)
class ResolvedPlan:
    """Settings of one training, complete. `effective_batch_size` rows go into each optimizer step over all ranks:
    effective_batch_size = micro_batch_size x accumulation x world_size, the last micro batches may be short.

    `beta`: of DPO, how strongly the model is held to what it was (Rafailov et al., arXiv:2305.18290).

    `packing`: rows are computed one behind the other, without padding, where the model can.

    `keep`: "Best" evaluation's weights or the "Last" ones. `patience`: evaluations in a row that may fail to lower the
    loss by more than `min_delta` before the training ends; 0: it never ends early.
    """

    method: str
    strategy: str
    world_size: int
    epochs: int
    total_steps: int
    learning_rate: float
    effective_batch_size: int
    micro_batch_size: int
    accumulation: int
    max_sequence_length: int
    precision: str
    scheduler: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    seed: int
    checkpoint_every_steps: int
    evaluate_every_steps: int
    keep_checkpoints: int
    objective: str = "SFT"
    beta: float = 0.0
    optimizer: str = "AdamW"
    offload: str = "None"
    extra_arguments: dict[str, Any] = field(default_factory=dict)
    keep: str = "Last"
    patience: int = 0
    min_delta: float = 0.0
    gradient_checkpointing: bool = False
    packing: bool = False
    lora_rank: int = 0
    lora_alpha: int = 0
    lora_dropout: float = 0.0
    lora_target_modules: tuple[str, ...] = ()
    lora_variant: str = "Standard"

    @property
    def makes_adapter(self) -> bool:
        """Whether an adapter is trained beside a frozen base."""
        return self.method != "Full"

    @property
    def compares(self) -> bool:
        """Whether pairs of answers are compared: a row is then two sequences."""
        return self.objective == "DPO"

    @property
    def micro_sequences(self) -> int:
        """Sequences that a rank computes at once."""
        return self.micro_batch_size * (2 if self.compares else 1)

    @property
    def quantizes(self) -> bool:
        """Whether the frozen base is held in four bits."""
        return self.method == "QLoRA"


def repaired(plan: ResolvedPlan, repair: RepairConfig | None) -> ResolvedPlan:
    """The plan with less memory in use at a time. Raises ContractError when a step would not have the same rows."""
    if repair is None:
        return plan
    if repair.micro_batch_size * repair.accumulation != plan.micro_batch_size * plan.accumulation:
        raise ContractError(
            f"plan: {repair.micro_batch_size} x {repair.accumulation} rows are not the"
            f" {plan.micro_batch_size} x {plan.accumulation} of the plan"
        )
    return replace(
        plan,
        micro_batch_size=repair.micro_batch_size,
        accumulation=repair.accumulation,
        gradient_checkpointing=repair.gradient_checkpointing,
    )
