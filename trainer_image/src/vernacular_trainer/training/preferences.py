"""Direct preference optimisation: the model learns which of two answers is better.

Rafailov et al., arXiv:2305.18290, equation 7. The reference, the model before its training, is measured once over all
pairs and kept in the workspace: a second copy of the model would double its memory, and a resumed full training has no
first copy any more.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.files import write_bytes
from vernacular_trainer.errors import StageError
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.ranks import Ranks
from vernacular_trainer.training.rows import Batch, PairTable, likelihoods

# so many batches of each rank are measured between two writes
_PARTS_PER_BLOCK = 64

log = logging.getLogger(__name__)


@dataclass
class _Seen:
    """What was measured since the last time that somebody asked, over this rank's pairs."""

    pairs: int = 0
    right: float = 0.0
    margin: float = 0.0


class PreferenceLoss:
    """-log sigmoid(beta x margin), summed over the pairs of a batch; the margin is by how much more than the reference
    the model prefers the chosen answer, in natural logarithms.
    """

    def __init__(self, model: nn.Module, beta: float, ranks: Ranks) -> None:
        self.tokens = SupervisedLoss(model)
        self._beta = beta
        self._ranks = ranks
        self._seen = _Seen()

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Sum of the losses, a float32 scalar; 0 for a batch without pairs, which all ranks compute all the same."""
        found = self.log_probabilities(model, batch)
        if batch.reference is None:
            return found.sum() * 0.0
        reference = likelihoods(batch.reference).to(found)
        margin = self._beta * ((found[0::2] - reference[:, 0]) - (found[1::2] - reference[:, 1]))
        self._note(margin.detach())
        return -nn.functional.logsigmoid(margin).sum()

    def weight(self, batch: Batch) -> float:
        """What the sum is to be divided by, over all batches of a step: the pairs."""
        return 0.0 if batch.reference is None else len(batch.reference)

    def measured(self) -> dict[str, float]:
        """Since the last call, over all ranks, which call together: how often the chosen answer is preferred, and by
        how much on average.
        """
        seen, self._seen = self._seen, _Seen()
        pairs, right, margin = self._ranks.sum([seen.pairs, seen.right, seen.margin])
        return {"reward_accuracy": right / pairs, "reward_margin": margin / pairs} if pairs else {}

    def log_probabilities(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """How likely each row's supervised tokens are together: sums of natural logarithms, float32, shape (rows,)."""
        losses = self.tokens.per_token(model, batch)
        # a sum by index would not be the same twice on a GPU
        supervised = batch.supervised_by_row()
        grid = torch.zeros(supervised.shape, dtype=losses.dtype, device=losses.device)
        return grid.masked_scatter(supervised, -losses).sum(dim=1)

    def _note(self, margin: torch.Tensor) -> None:
        self._seen.pairs += len(margin)
        self._seen.right += float((margin > 0).sum())
        self._seen.margin += float(margin.sum())


@dataclass(frozen=True)
class Reference:
    """Measures how likely the untrained model finds all answers; every rank computes its part.

    `wrapped` is what computes (DDP, DeepSpeed), `model` what it wraps. `trained`: whether steps were done already, so
    that a full training has no untrained model left. `next_part` is called before each part, on all ranks together.
    """

    wrapped: Any
    model: Any
    loss: PreferenceLoss
    ranks: Ranks
    trained: bool
    to_device: Callable[[Batch], Batch]
    next_part: Callable[[], None]

    def attach(self, table: PairTable, path: Path, size: int) -> PairTable:
        """The table with its reference: the one in the file, or a new one, computed `size` pairs at a time.

        Raises StageError (CheckpointIncompatible) when it is gone and cannot be measured any more.
        """
        known = self.ranks.share(lambda: _read(path, len(table)))
        missing = np.flatnonzero(np.isnan(known).any(axis=1))
        if missing.size and self.trained and not hasattr(self.model, "disable_adapter"):
            message = f"{path.name} in the workspace, which the training was begun with, is gone"
            raise StageError(StageFailure.CHECKPOINT_INCOMPATIBLE, message, "start a new job")
        # long pairs first; what was measured stays when the training is stopped on the way
        order = missing[np.argsort(-table.lengths[missing], kind="stable")]
        block = size * self.ranks.world_size * _PARTS_PER_BLOCK
        for start in range(0, len(order), block):
            pairs = order[start : start + block].tolist()
            known[pairs] = self._measure(table, pairs, size)
            self._keep(path, known)
            log.info("measured the untrained model on %d of %d pairs", start + len(pairs), len(order))
        return replace(table, reference=known)

    def _keep(self, path: Path, known: NDArray[np.float64]) -> None:
        """Raises StageError (NonFiniteLoss), on all ranks, before a number that is none is kept."""
        if np.isinf(known).any():
            message = "the untrained model finds an answer infinitely unlikely, so nothing can be compared with it"
            raise StageError(StageFailure.NON_FINITE_LOSS, message, "use precision FP32 or BF16, or another base model")
        if self.ranks.is_first:
            _write(path, known)
        self.ranks.barrier()

    def _measure(self, table: PairTable, pairs: list[int], size: int) -> NDArray[np.float64]:
        """How likely both answers of each of the pairs are, shape (pairs, 2), the same on all ranks."""
        found = np.zeros((len(pairs), 2))
        untrained: AbstractContextManager[Any] = getattr(self.model, "disable_adapter", nullcontext)()
        self.wrapped.eval()
        with untrained, torch.no_grad():
            for places in self._parts(len(pairs), size):
                self.next_part()
                batch = self.to_device(table.batch([pairs[place] for place in places]))
                likely = self.loss.log_probabilities(self.wrapped, batch)
                if places:
                    found[places] = likely.double().cpu().numpy().reshape(-1, 2)
        summed = np.array(self.ranks.sum(found.reshape(-1).tolist())).reshape(-1, 2)
        # not a number would count as not measured
        return np.where(np.isnan(summed), np.inf, summed)

    def _parts(self, count: int, size: int) -> Iterator[list[int]]:
        """This rank's places among `count`, `size` at a time; every rank gets the same number of parts."""
        order = list(range(count))
        parts = [order[start : start + size] for start in range(0, count, size)]
        for start in range(0, len(parts), self.ranks.world_size):
            own = start + self.ranks.rank
            yield parts[own] if own < len(parts) else []


def _read(path: Path, pairs: int) -> NDArray[np.float64]:
    """What was measured, NaN where nothing was."""
    nothing = np.full((pairs, 2), np.nan)
    if not path.exists():
        return nothing
    found: NDArray[np.float64] = np.load(path, allow_pickle=False)
    return found if found.shape == nothing.shape else nothing


def _write(path: Path, reference: NDArray[np.float64]) -> None:
    stream = io.BytesIO()
    np.save(stream, reference, allow_pickle=False)
    write_bytes(path, stream.getvalue())
