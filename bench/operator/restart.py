"""A start beside thousands of finished jobs: how long until the operator is ready, and that it writes nothing."""

from __future__ import annotations

import asyncio
import json
import time

from bench.operator.api import Document
from bench.operator.life import create_only
from bench.operator.stages import StagePlayer
from bench.operator.world import World, fresh_world
from bench.report import Measure
from support.finetunejobs import finetunejob

_JOBS = 5000
_AT_ONCE = 24
_OBSERVED_SECONDS = 20.0
_SERVERS_OWN = ("name", "namespace", "labels", "ownerReferences")


async def measures() -> list[Measure]:
    """The finished jobs are copies of one that was really played, with the four Jobs that each leaves behind.

    Their pods are left out: a cluster removes finished pods when there are thousands of them.
    """
    async with fresh_world() as world:
        await world.start_operator()
        pattern, children = await _played(world)
        await world.stop_operator()
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for number in range(_JOBS):
                tasks.create_task(_copy(world, slots, f"copy-{number:05d}", pattern, children))
        print(f"{_JOBS} finished jobs are there", flush=True)
        before = await world.api.counts()
        began = time.monotonic()
        await world.start_operator()
        ready = time.monotonic() - began
        memory = world.operator_memory()
        await asyncio.sleep(_OBSERVED_SECONDS)
        writes = (await world.api.counts() - before).writes()
        # the token of the process that is started
        writes.pop("POST serviceaccounts/token", None)
        later = world.operator_memory()
    return [
        Measure("restart with 5,000 finished jobs to ready", ready, "s", 10),
        Measure("API writes after that restart", sum(writes.values()), "", 0),
        Measure("operator memory when ready, 5,000 finished jobs", memory, "MB"),
        Measure("operator memory 20 s later", later, "MB"),
    ]


async def _played(world: World) -> tuple[Document, list[Document]]:
    """A finished FineTuneJob and its four Jobs."""
    await create_only(world, 1, limit=60)
    async with StagePlayer(world.api, world.namespace, seconds=0.2):
        async with asyncio.timeout(60):
            while True:
                job: Document = json.loads(await world.api.text("GET", f"{world.jobs}/job-00000"))
                if job.get("status", {}).get("state") == "Succeeded":
                    break
                await asyncio.sleep(0.2)
    await world.quiet()
    children = json.loads(await world.api.text("GET", f"/apis/batch/v1/namespaces/{world.namespace}/jobs"))["items"]
    return job, children


async def _copy(world: World, slots: asyncio.Semaphore, name: str, pattern: Document, children: list[Document]) -> None:
    async with slots:
        job = await world.api.post(world.jobs, finetunejob(name))
        old, new = pattern["metadata"], job["metadata"]

        def renamed(document: Document) -> Document:
            text = json.dumps(document).replace(old["uid"], new["uid"]).replace(old["name"], name)
            return json.loads(text.replace(f"-{old['uid'][:5]}-", f"-{new['uid'][:5]}-"))  # type: ignore[no-any-return]

        for child in children:
            copied = renamed(child)
            metadata = {key: copied["metadata"][key] for key in _SERVERS_OWN}
            # made by the server for each Job anew
            copied["spec"].pop("selector", None)
            template = copied["spec"]["template"]["metadata"]
            for label in [key for key in template["labels"] if "controller-uid" in key or key.endswith("job-name")]:
                if not label.startswith("vernacular.dev/"):
                    template["labels"].pop(label)
            path = f"/apis/batch/v1/namespaces/{world.namespace}/jobs"
            await world.api.post(path, {"metadata": metadata, "spec": copied["spec"]})
            await world.api.patch_status(f"{path}/{metadata['name']}", copied["status"])
        await world.api.patch_status(f"{world.jobs}/{name}", renamed(pattern)["status"])
