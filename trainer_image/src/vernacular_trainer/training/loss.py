"""The loss of a language model, with logits computed only where a token has to be predicted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vernacular_trainer.training.rows import IGNORED


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

    def __call__(
        self, model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Sum of the losses, a float32 scalar. All inputs have the shape (rows, length); see Batch for targets."""
        mask = targets != IGNORED
        self._mask = mask
        try:
            logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        finally:
            self._mask = None
        selected = logits if logits.dim() == 2 else logits[mask]
        return nn.functional.cross_entropy(selected.float(), targets[mask], reduction="sum")

    def _select(self, _head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._mask is None or inputs[0].shape[:2] != self._mask.shape:
            return None
        return (inputs[0][self._mask], *inputs[1:])
