"""How likely a model finds given texts: the sum of the log-probabilities of their tokens, in one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vernacular_trainer.evaluation.batches import batches

# logits of so many tokens are held at once: 1,024 x 50,000 entries in float32 are 200 MB
_BATCH_TOKENS = {"cpu": 1024, "cuda": 4096}


@dataclass(frozen=True)
class Continuation:
    """Tokens that follow others: how likely is `answer` after `prompt`?"""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def log_likelihoods(model: Any, items: Sequence[Continuation]) -> list[float]:
    """Natural log-probability of each answer after its prompt, summed over its tokens, in the order of `items`.

    A prompt has at least one token. What follows a text is padded behind it, so it changes nothing.
    """
    model.eval()
    found: dict[int, float] = {}
    with torch.inference_mode():
        for batch in batches([item.length for item in items], _BATCH_TOKENS[model.device.type]):
            found.update(zip(batch, _score(model, [items[index] for index in batch]), strict=True))
    return [found[index] for index in range(len(items))]


def _score(model: Any, items: Sequence[Continuation]) -> list[float]:
    width = max(item.length for item in items)
    rows = [[*item.prompt, *item.answer] for item in items]
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    logits = model(input_ids=ids, attention_mask=mask).logits
    totals = []
    for row, item in enumerate(items):
        # the token before each one of the answer predicts it
        predicted = logits[row, len(item.prompt) - 1 : item.length - 1].float()
        chosen = predicted.log_softmax(-1).gather(-1, ids[row, len(item.prompt) : item.length, None])
        totals.append(float(chosen.sum()))
    return totals
