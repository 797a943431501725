"""Jobs from their creation to Succeeded: how fast, at what cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.operator.api import Document
from bench.operator.seen import Seen
from bench.operator.stages import StagePlayer
from bench.operator.world import World, fresh_world
from bench.report import Measure
from vernacular_operator.domain.policies.tracking import NAMED_ALONE_AFTER

_STEADY_SECONDS = 10.0
_ENDED = (b'"state":"Succeeded"', b'"state":"Failed"')
_BENCH_WRITES = frozenset({"POST finetunejobs", "POST pods", "PATCH pods/status", "PATCH jobs/status"})
_BENCH_OBJECTS = frozenset({"finetunejobs", "pods"})


@dataclass(frozen=True)
class Life:
    """Seconds, MB, and per job processor milliseconds, writes and objects. `finish` starts when the stages may run."""

    start: Start
    finish: float
    memory_peak: float
    cpu: float
    writes: float
    objects: float
    steady_writes: int
    others: float


def _has_succeeded(job: Document) -> bool:
    """Raises RuntimeError for a job that failed."""
    state = job.get("status", {}).get("state")
    if state == "Failed":
        raise RuntimeError(f"a job failed: {job['status']['failure']}")
    return bool(state == "Succeeded")


async def create_only(world: World, count: int, limit: float) -> tuple[float, float]:
    """Seconds until all jobs are posted, and until all their prepare Jobs exist."""
    prepared = Seen(count)
    path = f"/apis/batch/v1/namespaces/{world.namespace}/jobs?labelSelector=vernacular.dev/stage%3Dprepare"
    return await prepared.after(prepared.watch(world.api, path), world.create_jobs(count), limit)


@dataclass(frozen=True)
class Start:
    """Jobs until every prepare Job exists: seconds, MB, and per job processor milliseconds and writes.

    `others` is the share of the processors that went to something else on the machine.
    """

    count: int
    posted: float
    create: float
    memory: float
    cpu: float
    writes: float
    others: float


async def start_jobs(world: World, count: int) -> Start:
    """Create `count` jobs, wait for their prepare Jobs and for quiet."""
    before = await world.mark()
    posted, create = await create_only(world, count, limit=60 + count / 10)
    at_work = (await world.mark()) - before
    await world.quiet(limit=60 + count / 20)
    cost = (await world.mark()) - before
    print(f"{count} jobs created in {create:.1f} s (posted {posted:.1f} s)\n{cost.describe(count)}", flush=True)
    return Start(
        count=count,
        posted=posted,
        create=create,
        memory=world.operator_memory(),
        cpu=1000 * cost.cpu["operator"] / count,
        writes=_by_operator(cost.counts.writes()) / count,
        others=at_work.share_of_others(),
    )


async def run_to_first_stage(count: int) -> Start:
    """`start_jobs` in a world of its own."""
    async with fresh_world() as world:
        await world.start_operator()
        await world.quiet()
        return await start_jobs(world, count)


async def run(count: int) -> Life:
    """Create `count` jobs, wait for their prepare Jobs and for quiet, then let every stage run."""
    async with fresh_world() as world:
        await world.start_operator()
        await world.quiet()
        before = await world.mark()
        start = await start_jobs(world, count)
        # the status of a job that stands still names its run then, and is not touched again
        await asyncio.sleep(NAMED_ALONE_AFTER.total_seconds())
        await world.quiet(limit=60 + count / 20)
        created = await world.mark()
        await asyncio.sleep(_STEADY_SECONDS)
        waited = await world.mark()
        succeeded = Seen(count)
        async with asyncio.timeout(60 + count / 2), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(succeeded.watch(world.api, world.jobs, _has_succeeded, _ENDED))
            began = time.monotonic()
            async with StagePlayer(world.api, world.namespace):
                await succeeded.reached.wait()
            watching.cancel()
        at_work = (await world.mark()) - waited
        await world.quiet(limit=60 + count / 5)
        finished = await world.mark()
        print(f"finished in {succeeded.at - began:.1f} s\n{(finished - waited).describe(count)}")
        await asyncio.sleep(_STEADY_SECONDS)
        end = await world.mark()
        steady = (end - finished).counts.writes() + (waited - created).counts.writes()
        return Life(
            start=start,
            finish=succeeded.at - began,
            memory_peak=world.operator_memory("VmHWM"),
            cpu=1000 * (end - before).cpu["operator"] / count,
            writes=_by_operator((end - before).counts.writes()) / count,
            objects=_by_operator((end - before).counts.created()) / count,
            steady_writes=_by_operator(steady),
            others=at_work.share_of_others(),
        )


def _by_operator(counted: dict[str, int]) -> int:
    """Nothing else writes here but the bench, which writes other things."""
    return sum(number for name, number in counted.items() if name not in _BENCH_WRITES | _BENCH_OBJECTS)


async def thousand() -> list[Measure]:
    """The rows about 1,000 jobs."""
    life = await run(1000)
    start = life.start
    return [
        Measure("1,000 jobs: first create to every prepare Job", start.create, "s", 15),
        Measure("1,000 jobs: all posted", start.posted, "s"),
        Measure("other work on the machine meanwhile", start.others, "%"),
        Measure("1,000 jobs: all four stages to Succeeded", start.create + life.finish, "s", 120),
        Measure("other work on the machine while stages ran", life.others, "%"),
        Measure("operator memory, 1,000 live jobs", start.memory, "MB", 150),
        Measure("operator memory, highest", life.memory_peak, "MB"),
        Measure("operator CPU per job, until its prepare Job runs", start.cpu, "ms"),
        Measure("operator CPU per job, whole life", life.cpu, "ms", 40),
        Measure("API writes per job, whole life", life.writes, "", 25),
        Measure("API writes in a steady state", life.steady_writes, "", 0),
    ]


async def five_thousand() -> list[Measure]:
    """The rows about 5,000 live jobs."""
    start = await run_to_first_stage(5000)
    return [
        Measure("5,000 jobs: first create to every prepare Job", start.create, "s", 75),
        Measure("5,000 jobs: all posted", start.posted, "s"),
        Measure("other work on the machine meanwhile", start.others, "%"),
        Measure("operator memory, 5,000 live jobs", start.memory, "MB", 300),
    ]
