"""Waiting until a watch has shown a number of objects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from bench.operator.api import Api, Document

Moments = tuple[float, float]  # seconds until all was posted, and until the count was reached


@dataclass
class Seen:
    """Counts what a watch shows; `reached` is set at the count that is waited for, `at` in monotonic seconds."""

    count: int
    names: set[str] = field(default_factory=set)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    at: float = 0.0

    def add(self, name: str) -> None:
        self.names.add(name)
        if len(self.names) >= self.count and not self.reached.is_set():
            self.at = time.monotonic()
            self.reached.set()

    async def after(self, watching: Coroutine[Any, Any, None], posting: Awaitable[None], limit: float) -> Moments:
        """Post while watching, until the count is reached. Raises TimeoutError `limit` seconds after the last post."""
        task = asyncio.create_task(watching)
        try:
            began = time.monotonic()
            await posting
            posted = time.monotonic() - began
            await asyncio.wait_for(self.reached.wait(), limit)
        finally:
            task.cancel()
        return posted, self.at - began

    async def watch(
        self, api: Api, path: str, holds: Callable[[Document], bool] = lambda _: True, marks: tuple[bytes, ...] = (b"",)
    ) -> None:
        """Add the names of all objects for which `holds`; lines without any of `marks` are not even read."""
        async for line in api.watch(path):
            if any(mark in line for mark in marks):
                found = json.loads(line)["object"]
                if holds(found):
                    self.add(found["metadata"]["name"])
