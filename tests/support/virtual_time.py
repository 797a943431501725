"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, always in the same order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Never waits for files; tells the loop how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        self.waited += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code without files, threads and processes."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.waited

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens within so many seconds."""
        self.run_until_complete(asyncio.sleep(seconds))

    def within(self, work: Callable[[], None]) -> None:
        """Do something that needs a running loop."""
        self.run_until_complete(_call(work))

    def stop_all(self) -> None:
        """Cancel what is left and close the loop."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run_until_complete(_settle(tasks))
        self.close()


class VirtualClock:
    """The time of a loop as a date."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())


async def _settle(tasks: Any) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _call(work: Callable[[], None]) -> None:
    work()
