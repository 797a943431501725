"""Work that is cancelled from within, as a library does it to the task it runs in, ends neither worker nor loop."""

from __future__ import annotations

import asyncio

import pytest

from vernacular_operator.runtime.tasks import StrayCancellationError, apart, for_ever


async def cancel_oneself() -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(60)


async def test_a_cancellation_from_within_is_an_error_of_the_work_alone() -> None:
    with pytest.raises(StrayCancellationError):
        await apart(cancel_oneself())

    caller = asyncio.current_task()
    assert caller
    assert caller.cancelling() == 0


async def test_the_work_has_ended_when_its_caller_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    caller = asyncio.create_task(apart(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert ended == ["work"]


async def test_results_and_errors_come_through() -> None:
    async def fails() -> None:
        raise ValueError("wrong")

    assert await apart(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="wrong"):
        await apart(fails())


async def test_a_loop_begins_anew_after_a_cancellation_and_ends_with_an_error() -> None:
    begun, pauses = 0, []

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            await cancel_oneself()
        raise RuntimeError("a bug")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(RuntimeError, match="a bug"):
        await for_ever("loop", loop, pause)

    assert (begun, pauses) == (3, [1.0, 1.0])
