"""Training rows that match a question best: Okapi BM25 over words, without any service. Pure.

Robertson, Zaragoza (2009): The Probabilistic Relevance Framework, section 3.2, with k1 = 1.2 and b = 0.75.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.words import content_key

_K1 = 1.2
_B = 0.75


@dataclass(frozen=True)
class Match:
    """A text that was found: its index, and how well it matches (0: not at all, no upper limit)."""

    index: int
    score: float


class Index:
    """Texts that can be searched by content words."""

    def __init__(self, texts: Sequence[str]) -> None:
        found = [Counter(content_key(text)) for text in texts]
        self._lengths = [sum(counts.values()) for counts in found]
        self._average = sum(self._lengths) / len(texts) if texts else 0.0
        self._places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, counts in enumerate(found):
            for word, count in counts.items():
                self._places[word].append((index, count))

    def search(self, text: str, most: int) -> list[Match]:
        """The best matches, at most so many, best first; of equal ones the earlier first."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(content_key(text)):
            places = self._places.get(word, ())
            weight = math.log(1 + (len(self._lengths) - len(places) + 0.5) / (len(places) + 0.5))
            for index, count in places:
                length = self._lengths[index] / self._average
                scores[index] += weight * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length))
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        return [Match(index, score) for index, score in ranked[:most]]
