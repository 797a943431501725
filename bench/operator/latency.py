"""From an event of a child to the status that tells of it, at a steady rate of events."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterable

from bench.operator.stages import StagePlayer
from bench.operator.training import training_world
from bench.operator.world import World
from bench.report import Measure

_JOBS = 500
_RATE = 50
_SECONDS = 20
_PROBE = re.compile(rb"probe-(\d+)-")


async def measures() -> list[Measure]:
    """50 events a second, each on another job: its pod cannot pull its image, and the status has to say so."""
    async with training_world(_JOBS) as (world, player):
        before = await world.mark()
        delays = sorted(await _delays(world, player))
        others = ((await world.mark()) - before).share_of_others()
    return [
        Measure("child event to status written, p50", 1000 * percentile(delays, 50), "ms"),
        Measure("child event to status written, p99 at 50 events/s", 1000 * percentile(delays, 99), "ms", 500),
        Measure("events whose status came", len(delays), ""),
        Measure("events whose status did not come", _RATE * _SECONDS - len(delays), "", 0),
        Measure("other work on the machine meanwhile", others, "%"),
    ]


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


async def _delays(world: World, player: StagePlayer) -> Iterable[float]:
    """Seconds from sending the pod's new status to seeing it in the job's."""
    sent: dict[int, float] = {}
    seen: dict[int, float] = {}

    async def watch() -> None:
        async for line in world.api.watch(world.jobs):
            now = time.monotonic()
            for number in _PROBE.findall(line):
                seen.setdefault(int(number), now)

    async def trouble(number: int) -> None:
        pod = pods[number % len(pods)]
        waiting = {"reason": "ImagePullBackOff", "message": f"probe-{number}-"}
        sent[number] = time.monotonic()
        await player.set_container(pod, "Pending", {"waiting": waiting}, ready=False)

    pods = list(player.running.values())
    watching = asyncio.create_task(watch())
    async with asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for number in range(_RATE * _SECONDS):
            await asyncio.sleep(max(0.0, began + number / _RATE - time.monotonic()))
            tasks.create_task(trouble(number))
    await asyncio.sleep(5)
    watching.cancel()
    return [seen[number] - moment for number, moment in sent.items() if number in seen]
