"""Cross-entropy of a linear output layer without its logits: a large vocabulary makes them the largest tensor of a
training. They are computed in chunks that are dropped at once.

Hsu et al., "Liger Kernel" (arXiv:2410.10989, section 3.2, fused linear cross entropy).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from vernacular_trainer.memory import logit_rows


def linear_cross_entropy(hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """-log p(target) at every position, float32, shape (positions,); `hidden` has the shape (positions, width)."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    losses: torch.Tensor = _LinearCrossEntropy.apply(hidden, head.weight, head.bias, targets, dtype)
    return losses


class _LinearCrossEntropy(torch.autograd.Function):
    """With a frozen layer the gradient of `hidden` is computed at once, from logits that are at hand: it is that of the
    loss itself, and is multiplied by what comes later. A trained layer computes them a second time, since its own
    gradient is a sum over positions whose factors are not known yet.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        at_once = ctx.needs_input_grad[0] and not trained
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if at_once else None
        normaliser = torch.empty_like(losses)
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.to(dtype)
            for part in _parts(len(hidden), matrix):
                logits = _logits(hidden[part], matrix, bias, dtype)
                normaliser[part] = torch.logsumexp(logits, dim=1)
                losses[part] = normaliser[part] - logits.gather(1, targets[part, None]).squeeze(1)
                if gradient is not None:
                    gradient[part] = _slope(logits, normaliser[part], targets[part]).to(dtype) @ matrix
        ctx.dtype, ctx.at_once = dtype, at_once
        if at_once:
            ctx.save_for_backward(gradient)
        else:
            ctx.save_for_backward(hidden, weight, bias, targets, normaliser)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factors: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.at_once:
            (gradient,) = ctx.saved_tensors
            return gradient * factors[:, None].to(gradient.dtype), None, None, None, None
        return (*_both(ctx, factors), None, None)


def _both(ctx: Any, factors: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Gradients of hidden, weight and bias, from logits computed again."""
    hidden, weight, bias, targets, normaliser = ctx.saved_tensors
    dtype = ctx.dtype
    matrix = weight.to(dtype)
    of_hidden = torch.empty_like(hidden)
    of_weight = torch.zeros_like(weight) if weight.requires_grad else None
    of_bias = torch.zeros_like(bias) if bias is not None and bias.requires_grad else None
    with torch.autocast(hidden.device.type, enabled=False):
        for part in _parts(len(hidden), matrix):
            slope = _slope(_logits(hidden[part], matrix, bias, dtype), normaliser[part], targets[part])
            slope *= factors[part, None]
            if of_bias is not None:
                of_bias += slope.sum(dim=0).to(of_bias.dtype)
            rounded = slope.to(dtype)
            of_hidden[part] = rounded @ matrix
            if of_weight is not None:
                _add_product(of_weight, rounded.T, hidden[part].to(dtype))
    return of_hidden, of_weight, of_bias


def _parts(positions: int, matrix: torch.Tensor) -> Iterator[slice]:
    size = logit_rows(len(matrix), matrix.device.type)
    return (slice(start, min(start + size, positions)) for start in range(0, positions, size))


def _logits(hidden: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    return nn.functional.linear(hidden.to(dtype), matrix, None if bias is None else bias.to(dtype)).float()


def _slope(logits: torch.Tensor, normaliser: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient of the loss by the logits, softmax less one at the target, written over them."""
    slope = logits.sub_(normaliser[:, None]).exp_()
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1
    return slope


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """The products of many parts are summed in the precision of the total, without another tensor of its size."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
