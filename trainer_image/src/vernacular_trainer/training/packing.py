"""Whether a model computes packed rows as it computes each row alone: it is tried, not believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vernacular_trainer.training.attention import PACKED
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.rows import Batch, Row, pack, pad

_PADDED = "sdpa"
# tokens of each of the rows that are tried
_PROBE = (7, 24, 12)
# in nats: beside other rows of the same length nothing changes; another layout is summed in another order
_BESIDE_OTHERS = 1e-5
_ALONE = {"FP32": 1e-3}
_ALONE_16_BITS = 0.1

log = logging.getLogger(__name__)


def attend_packed(model: Any) -> bool:
    """Have a model use the attention for packed rows; False when it brings its own, or one that no kernel has."""
    if not (getattr(model, "_supports_attention_backend", False) and getattr(model, "_supports_sdpa", False)):
        return False
    model.set_attn_implementation(PACKED)
    return True


def attend_padded(model: Any) -> None:
    """Have such a model use its usual attention again."""
    model.set_attn_implementation(_PADDED)


def attends_packed(model: Any) -> bool:
    """Whether a model was made to attend packed rows."""
    return bool(model.config._attn_implementation == PACKED)


def settle(wrapped: Any, model: Any, loss: SupervisedLoss, to_device: Callable[[Batch], Batch]) -> None:
    """Have the loss find out what the model's output layer gives, on all ranks together: later some ranks may have
    nothing to compute, which tells nothing.
    """
    first, *_ = _probe(model)
    wrapped.eval()
    with torch.no_grad():
        loss.per_token(wrapped, to_device(pad([first])))


def keeps_apart(
    wrapped: Any, model: Any, loss: SupervisedLoss, precision: str, to_device: Callable[[Batch], Batch]
) -> bool:
    """Try it, on all ranks together. `wrapped` is what computes (DDP, DeepSpeed), `model` the transformer within, which
    then attends as usual.

    A model that mixes rows (a state that goes from token to token, an attention of its own) gives a row other losses
    beside other rows, or than alone.
    """
    first, *rows = _probe(model)
    wrapped.eval()
    with torch.no_grad():
        one, other = (loss.per_token(wrapped, to_device(pack([row, *rows]))) for row in (first, _backwards(first)))
        attend_padded(model)
        alone = torch.cat([loss.per_token(wrapped, to_device(pad([row]))) for row in rows])
    one, other = one[-len(alone) :], other[-len(alone) :]
    mixed, moved = float((one - other).abs().max()), float((one - alone).abs().mean())
    apart = mixed <= _BESIDE_OTHERS and moved <= _ALONE.get(precision, _ALONE_16_BITS)
    if not apart:
        log.warning("packed rows do not come out as they do alone (by %.3g, %.3g): they are padded", mixed, moved)
    return apart


def _probe(model: Any) -> list[Row]:
    random, vocabulary = np.random.default_rng(0), model.config.get_text_config().vocab_size
    rows = [random.integers(0, vocabulary, length).astype(np.int32) for length in _PROBE]
    return [(tokens, tokens) for tokens in rows]


def _backwards(row: Row) -> Row:
    tokens = row[0][::-1]
    return tokens, tokens
