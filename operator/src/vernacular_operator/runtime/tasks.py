"""Work that outlives a cancellation that nobody asked for.

A library that cancels the task it runs in, when a timer and an answer meet, would end whatever loop awaits it, and a
task group takes a cancelled task for one that has done its work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]
_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 1.0


class StrayCancellationError(Exception):
    """The work was cancelled from within."""


async def apart(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that runs in a task of its own. Raises what it raises, and StrayCancellationError.

    It ends when the caller is cancelled, and the caller waits for that.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        raise
    if task.cancelled():
        raise StrayCancellationError("cancelled, though nobody wanted that")
    return task.result()


async def for_ever(name: str, loop: Callable[[], Coroutine[Any, Any, Any]], pause: Pause = asyncio.sleep) -> None:
    """Run a loop that never ends by itself, anew when it was cancelled from within. Raises what the loop raises."""
    while True:
        try:
            await apart(loop())
        except StrayCancellationError as error:
            _log.error("%s: %s; it begins anew", name, error)
            await pause(_PAUSE_SECONDS)
