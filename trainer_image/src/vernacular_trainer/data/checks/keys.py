"""Texts as keys of 128 bits: equal for equal texts, small enough to hold those of all rows at once.

Keys of many rows are an array of the shape (rows, 2). A row without a text has NO_KEY, which equals no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

SIZE = 16
NO_KEY = bytes(SIZE)


def key(text: str) -> bytes:
    """The key of a text."""
    return hashlib.blake2b(text.encode(), digest_size=SIZE).digest()


def keys_of(found: Iterable[bytes]) -> Keys:
    """Keys as an array."""
    return np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)


def first_of_kind(keys: Keys) -> NDArray[np.int64]:
    """For each row the index of the first row with the same key."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1) | ~ordered[1:].any(axis=1)
    starts = np.flatnonzero(new)
    first = np.empty(len(keys), np.int64)
    first[order] = np.repeat(order[starts], np.diff(starts, append=len(keys)))
    return first
