"""Similar texts among many without comparing all with all: MinHash and banding find candidates, whose words decide.

Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, chapter 3. 16 bands of 4 hashes find a pair that shares 80 % of
its shingles with a probability of 99.98 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.words import shingles

BANDS = 16
_HASHES_PER_BAND = 4
_SEED = 42
# that of a text without words
_NO_BAND = 0
# odd numbers, which make one of the four hashes of a band
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def band_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """A key for each band of the MinHash signature of each text, shape (texts, BANDS)."""
    from rensa import RMinHash

    sets = [list(shingles(text)) for text in texts]
    digests = RMinHash.digests_from_token_sets(sets, BANDS * _HASHES_PER_BAND, _SEED)
    hashes = np.asarray(digests, np.uint32).astype(np.uint64).reshape(len(texts), BANDS, _HASHES_PER_BAND)
    keys: NDArray[np.uint64] = (hashes * _MIX).sum(axis=2, dtype=np.uint64) | np.uint64(1)
    keys[[not found for found in sets]] = _NO_BAND
    return keys


def candidates(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs (earlier, later) of texts that agree in a whole band, shape (pairs, 2), in ascending order. `keys`: of all
    texts, shape (texts, BANDS).

    Of many texts that are all alike each is paired with the first and with its neighbour, so the pairs join them all
    without being all of them.
    """
    used = np.flatnonzero(keys[:, 0] != _NO_BAND)
    pairs = [np.zeros((0, 2), np.int64), *(pair for band in keys.T for pair in _neighbours(band[used]))]
    found: NDArray[np.int64] = used[np.unique(np.concatenate(pairs), axis=0)]
    return found


def _neighbours(band: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Pairs of texts in one bucket: each with the first of it, and with the one before."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    new = np.ones(len(order), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(new)
    first = np.repeat(order[starts], np.diff(starts, append=len(order)))
    same = np.flatnonzero(~new)
    yield np.stack([first[same], order[same]], axis=1)
    yield np.stack([order[same - 1], order[same]], axis=1)


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
    """The pairs of which both are kept, as places among `kept`, which is in ascending order."""
    given = np.array(pairs, np.int64).reshape(-1, 2)
    indexes = np.array(kept, np.int64)
    places = np.searchsorted(indexes, given)
    found = np.isin(given, indexes).all(axis=1)
    return [(left, right) for left, right in places[found].tolist()]
