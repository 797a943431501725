"""A keyed work queue: each key waits once and is worked on by one worker at a time.

A key that is added while it is worked on is worked on again.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """For one event loop; `base` and `cap` bound the seconds of backoff after failures."""

    def __init__(self, base: float = 0.5, cap: float = 60.0) -> None:
        self._base = base
        self._cap = cap
        self._waiting: OrderedDict[K, float] = OrderedDict()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait for a worker, without delayed ones."""
        return len(self._waiting)

    def oldest_seconds(self) -> float:
        """How long the key that waits longest has waited; 0 when none waits."""
        return monotonic() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def add(self, key: K) -> None:
        """Have the key worked on soon; a delayed visit that was planned for it is dropped."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._active:
            self._again.add(key)
            return
        self._waiting.setdefault(key, monotonic())
        self._ready.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key worked on after a delay; the earlier of two planned visits counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        if timer := self._timers.get(key):
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    async def get(self) -> K:
        """The key that waited longest. The caller must end with `done` or `retry`."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        key, _ = self._waiting.popitem(last=False)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """The visit went well: failures are forgotten."""
        self._failures.pop(key, None)
        self._release(key)

    def retry(self, key: K) -> float:
        """The visit failed: come back after a backoff with jitter, which is returned in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._cap, self._base * (1 << min(failures - 1, 16))) * random.uniform(0.5, 1.0)
        if not self._release(key):
            self.add_after(key, delay)
        return delay

    def close(self) -> None:
        """Drop every planned visit."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _release(self, key: K) -> bool:
        self._active.discard(key)
        if key not in self._again:
            return False
        self._again.discard(key)
        self.add(key)
        return True
