"""The loss of a language model, with logits computed only where a token has to be predicted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vernacular_trainer.training.rows import IGNORED, Batch


class SupervisedLoss:
    """Cross-entropy summed over the supervised positions of a batch.

    The output layer is most of the work with a large vocabulary, so the hidden states of all other positions are
    dropped before it, by a hook: that holds under every wrapper (PEFT, DDP, ZeRO). Models that do not call their
    output layer as a module keep all logits, and the unneeded ones are dropped after it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._mask: torch.Tensor | None = None
        head = model.get_output_embeddings()  # type: ignore[operator]
        if head is not None:
            head.register_forward_pre_hook(self._select)

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Sum of the losses, a float32 scalar."""
        return self.per_token(model, batch).sum()

    def weight(self, batch: Batch) -> float:
        """What the sum is to be divided by, over all batches of a step: the supervised tokens."""
        return batch.supervised

    def measured(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}

    def per_token(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Losses of the supervised positions, row by row, float32, shape (supervised,)."""
        targets, mask = batch.targets, batch.targets != IGNORED
        self._mask = mask
        try:
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        finally:
            self._mask = None
        selected = logits if logits.dim() == 2 else logits[mask]
        return nn.functional.cross_entropy(selected.float(), targets[mask], reduction="none")

    def _select(self, _head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._mask is None or inputs[0].shape[:2] != self._mask.shape:
            return None
        return (inputs[0][self._mask], *inputs[1:])
