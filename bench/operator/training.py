"""Many jobs that train and go on training, as the scene of other measurements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bench.operator.stages import StagePlayer, stage_report
from bench.operator.world import World, fresh_world
from support.simulated_kubelet import Behaviour, hold_until_stopped, succeed
from vernacular_trainer.contract import JobConfig, Stage


def _train_for_ever(config: JobConfig) -> Behaviour:
    return hold_until_stopped(1) if config.stage == Stage.TRAIN else succeed(config)


@asynccontextmanager
async def training_world(count: int) -> AsyncIterator[tuple[World, StagePlayer]]:
    """A world with `count` jobs whose training runs, and says so in the status."""
    async with fresh_world() as world:
        await world.start_operator()
        message = partial(stage_report, script=_train_for_ever)
        async with StagePlayer(world.api, world.namespace, seconds=0.2, message=message) as player:
            await world.create_jobs(count)
            async with asyncio.timeout(120 + count / 5):
                while await _count(world, b'"state":"Training"') < count:  # noqa: ASYNC110
                    await asyncio.sleep(1)
            await world.quiet()
            print(f"{count} jobs train", flush=True)
            yield world, player


async def _count(world: World, text: bytes) -> int:
    return (await world.api.text("GET", world.jobs)).count(text)
