"""The loss of a language model, computed only where a token has to be predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vernacular_trainer.training.attention import groups_of
from vernacular_trainer.training.cross_entropy import linear_cross_entropy
from vernacular_trainer.training.rows import IGNORED, Batch


class SupervisedLoss:
    """Cross-entropy summed over the supervised positions of a batch.

    The output layer is most of the work with a large vocabulary. In its place the losses are computed, of the
    supervised positions alone and without all logits at once: from inside the layer's own call, so that it holds under
    every wrapper (PEFT, DDP, and ZeRO, which gathers the layer's weights for that call).

    Models that change their logits after the output layer (a scale, a cap), or whose output layer is no plain linear
    map (it has an adapter), have it give logits, of the supervised positions alone. Models that do not call their
    output layer as a module keep all logits, and the unneeded ones are dropped after it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._targets: torch.Tensor | None = None
        self._losses: torch.Tensor | None = None
        head = model.get_output_embeddings()  # type: ignore[operator]
        self._fused = type(head) is nn.Linear
        if head is not None:
            head.forward = self._on_supervised(head, head.forward)

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Sum of the losses, a float32 scalar."""
        return self.per_token(model, batch).sum()

    @property
    def tokens(self) -> SupervisedLoss:
        """The loss of single tokens."""
        return self

    def weight(self, batch: Batch) -> float:
        """What the sum is to be divided by, over all batches of a step: the supervised tokens."""
        return batch.supervised

    def measured(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}

    def per_token(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Losses of the supervised positions, row by row, float32, shape (supervised,)."""
        found = self._output(model, batch)
        if self._losses is not None:
            losses, self._losses = self._losses, None
            if losses.data_ptr() == found.data_ptr() and losses.shape == found.shape:
                return found
            self._fused = False
            found = self._output(model, batch)
        mask = batch.targets != IGNORED
        selected = found if found.dim() == 2 else found[mask]
        return nn.functional.cross_entropy(selected.float(), batch.targets[mask], reduction="none")

    def _output(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        self._targets, self._losses = batch.targets, None
        try:
            logits: torch.Tensor = model(**_inputs(batch), use_cache=False).logits
        finally:
            self._targets = None
        return logits

    def _on_supervised(self, head: Any, plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """What the layer does instead of `plain`, its own forward, while a loss is computed."""

        def forward(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            targets = self._targets
            if targets is None or hidden.shape[:2] != targets.shape:
                return plain(hidden, *args, **kwargs)
            mask = targets != IGNORED
            if not self._fused:
                return plain(hidden[mask], *args, **kwargs)
            self._losses = linear_cross_entropy(hidden[mask], head, targets[mask])
            return self._losses

        return forward


def _inputs(batch: Batch) -> dict[str, Any]:
    if batch.packed:
        groups = groups_of(batch.lengths, batch.input_ids.device)
        return {"input_ids": batch.input_ids, "position_ids": batch.positions(), "groups": groups}
    return {"input_ids": batch.input_ids, "attention_mask": batch.real().long()}
