"""How near an answer comes to the expected one, beyond right and wrong. Pure.

Exact match and token F1 as in SQuAD (Rajpurkar et al. 2016), ROUGE-L as in Lin (2004), section 3, over words that are
made equal as for scoring.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vernacular_trainer.evaluation.scoring import words


@dataclass(frozen=True)
class Nearness:
    """All from 0 to 1. `f1`: words shared, in any order; `rouge_l`: words shared in the same order."""

    exact: bool
    f1: float
    rouge_l: float


def nearness(expected: str, answer: str) -> Nearness:
    """Compare an answer with the expected one."""
    wanted, said = words(expected), words(answer)
    shared = sum((Counter(wanted) & Counter(said)).values())
    return Nearness(
        wanted == said,
        _f1(shared, len(wanted), len(said)),
        _f1(_longest_common_subsequence(wanted, said), len(wanted), len(said)),
    )


def _f1(shared: int, wanted: int, said: int) -> float:
    """The harmonic mean of shared/wanted and shared/said; 1 when both are empty."""
    return 2 * shared / (wanted + said) if wanted + said else 1.0


def _longest_common_subsequence(left: list[str], right: list[str]) -> int:
    lengths = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for position, other in enumerate(right, start=1):
            above = lengths[position]
            lengths[position] = diagonal + 1 if word == other else max(above, lengths[position - 1])
            diagonal = above
    return lengths[-1]
