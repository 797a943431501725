"""Similar texts among many without comparing all with all: MinHash and banding find candidates, exact sets decide.

Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, chapter 3. 16 bands of 4 hashes find a pair that shares 80 % of
its shingles with a probability of 99.98 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.words import shingles, similarity

BANDS = 16
_ROWS_PER_BAND = 4
_SEED = 42
_BATCH = 10_000


def similar_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of texts with a Jaccard similarity of at least `threshold`; texts without words have none.

    Of many texts that are all alike each is compared with the first and with its neighbour, so the pairs join them all
    without being all of them.
    """
    used = np.array([index for index, text in enumerate(texts) if any(map(str.isalnum, text))], dtype=np.int64)
    if used.size < 2:
        return []
    pairs = np.unique(np.concatenate(list(_candidates(_digests(texts, used)))), axis=0)
    return [
        (left, right)
        for left, right in used[pairs].tolist()
        if similarity(shingles(texts[left]), shingles(texts[right])) >= threshold
    ]


def components(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The first member of the group that each of `count` items belongs to when `pairs` belong together."""
    first = list(range(count))

    def root(item: int) -> int:
        while first[item] != item:
            first[item] = first[first[item]]
            item = first[item]
        return item

    for left, right in pairs:
        a, b = root(left), root(right)
        first[max(a, b)] = min(a, b)
    return [root(item) for item in range(count)]


def among(pairs: Sequence[tuple[int, int]], kept: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of which both are kept, as places among `kept`."""
    place = {index: number for number, index in enumerate(kept)}
    return [(place[left], place[right]) for left, right in pairs if left in place and right in place]


def _digests(texts: Sequence[str], used: NDArray[np.int64]) -> NDArray[np.uint32]:
    """MinHash signatures, shape (used, BANDS * rows per band)."""
    from rensa import RMinHash

    batches = [
        RMinHash.digests_from_token_sets(
            [list(shingles(texts[index])) for index in used[start : start + _BATCH]], BANDS * _ROWS_PER_BAND, _SEED
        )
        for start in range(0, used.size, _BATCH)
    ]
    return np.concatenate([np.asarray(batch, dtype=np.uint32) for batch in batches])


def _candidates(digests: NDArray[np.uint32]) -> Iterator[NDArray[np.int64]]:
    """Pairs of rows that agree in a whole band: each with the first of its bucket, and with the one before it."""
    for band in np.split(digests, BANDS, axis=1):
        keys = np.ascontiguousarray(band).view([("", band.dtype)] * _ROWS_PER_BAND).ravel()
        _, bucket = np.unique(keys, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        sorted_buckets = bucket[order]
        starts = np.flatnonzero(np.r_[True, sorted_buckets[1:] != sorted_buckets[:-1]])
        first = order[np.repeat(starts, np.diff(np.r_[starts, order.size]))]
        same = np.flatnonzero(sorted_buckets[1:] == sorted_buckets[:-1]) + 1
        yield np.stack([first[same], order[same]], axis=1)
        yield np.stack([order[same - 1], order[same]], axis=1)
