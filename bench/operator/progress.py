"""1,000 trainings that report progress all the time: what that costs MLflow and the API server."""

from __future__ import annotations

import asyncio
import itertools
import time

from bench.operator.training import training_world
from bench.operator.world import World
from bench.report import Measure

_JOBS = 1000
_SECONDS = 100
_TOTAL_STEPS = 1000
# what a real server with one worker took for 1,000 runs of this size: 2.4 to 3.8 s
_SEARCH_SECONDS = 3.0
_SAME_POLL = 1.0
_STATUS = "PATCH finetunejobs/status"


async def measures() -> list[Measure]:
    """Every training moves by more than a percent between two readings."""
    async with training_world(_JOBS) as (world, _):
        world.mlflow.search_seconds = _SEARCH_SECONDS
        reporting = asyncio.create_task(_report(world))
        await asyncio.sleep(_SEARCH_SECONDS)
        searched, before = len(world.mlflow.searches), await world.mark()
        busiest = await _busiest(world)
        cost = (await world.mark()) - before
        reporting.cancel()
        searches = world.mlflow.searches[searched:]
    polls = 1 + sum(later - earlier > _SEARCH_SECONDS + _SAME_POLL for earlier, later in itertools.pairwise(searches))
    writes = cost.counts.writes()
    return [
        Measure("1,000 trainings: MLflow requests per reading", len(searches) / polls, "", 1),
        Measure("1,000 trainings: share of MLflow's time", 100 * len(searches) * _SEARCH_SECONDS / cost.time, "%", 10),
        Measure("1,000 trainings: status writes/s, busiest 5 s", busiest, "", 20),
        Measure("1,000 trainings: status writes/s, mean", writes[_STATUS] / cost.time, "", 20),
        Measure("1,000 trainings: operator CPU", 100 * cost.cpu["operator"] / cost.time, "% of a core"),
        Measure("other work on the machine meanwhile", cost.share_of_others(), "%"),
    ]


async def _report(world: World) -> None:
    for step in itertools.count(10, 10):
        await asyncio.to_thread(world.mlflow.report_all, step % _TOTAL_STEPS, _TOTAL_STEPS)
        await asyncio.sleep(5)


async def _busiest(world: World) -> float:
    """Status writes a second in the busiest five seconds."""
    samples: list[tuple[float, int]] = []
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        samples.append((time.monotonic(), (await world.api.counts()).writes()[_STATUS]))
        await asyncio.sleep(1)
    return max(
        (later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in zip(samples, samples[5:], strict=False)
    )
