"""The work queue: every key once, one worker a key, failures apart."""

from __future__ import annotations

import asyncio

import pytest

from vernacular_operator.runtime.queue import WorkQueue


async def test_a_key_waits_once_and_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)

    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_after_that() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")

    assert await queue.get() == "a"


async def test_the_earlier_of_two_planned_visits_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)

    assert await asyncio.wait_for(queue.get(), 5) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_planned_visit_is_dropped_when_the_key_comes_earlier() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.05)
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.2)


async def test_failures_wait_longer_each_time_and_are_forgotten_after_success() -> None:
    queue: WorkQueue[str] = WorkQueue(base=0.001, cap=0.008)
    delays = []
    for _ in range(6):
        queue.add("a")
        await queue.get()
        delays.append(queue.retry("a"))
    assert 0.004 <= delays[-1] <= 0.008
    assert delays[0] <= 0.001

    assert await asyncio.wait_for(queue.get(), 5) == "a"
    queue.done("a")
    queue.add("a")
    await queue.get()
    assert queue.retry("a") <= 0.001
    queue.close()


async def test_no_key_is_ever_with_two_workers() -> None:
    queue: WorkQueue[int] = WorkQueue()
    busy: set[int] = set()
    visits = 0

    async def work() -> None:
        nonlocal visits
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            busy.discard(key)
            visits += 1
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for turn in range(200):
        queue.add(turn % 3)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(queue) or busy:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert all(not worker.done() for worker in workers)
    assert visits >= 3
    for worker in workers:
        worker.cancel()
