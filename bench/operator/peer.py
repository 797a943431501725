"""TrainJobs of Kubeflow Trainer from their creation to Complete, and a stage of our jobs beside them."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.operator import life, marks
from bench.operator.api import Api, Document, flow_schema
from bench.operator.life import Life
from bench.operator.marks import FLOW_PREFIX, Mark
from bench.operator.seen import Seen
from bench.operator.stages import StagePlayer, completed, now
from bench.report import Measure
from devcluster.paths import from_environment
from support import apiserver
from support.managers import process, programs
from support.managers.manifests import account
from support.managers.programs import JOBSET, TRAINER, Manager
from vernacular_trainer.contract import Stage

_PEERS = (JOBSET, TRAINER)
# requests a second that a manager may send, and how many more at once
_LIMIT: Document = {"clientConnection": {"qps": 500, "burst": 500}}
_FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
_API = "trainer.kubeflow.org/v1alpha1"
_RUNTIME = "bench"
_NAMESPACE = "jobs"
_TRAINJOBS = f"/apis/{_API}/namespaces/{_NAMESPACE}/trainjobs"
_JOBS = f"/apis/batch/v1/namespaces/{_NAMESPACE}/jobs"
# as many as our stages are ended at once
_PATCHES_AT_ONCE = 16
_BENCH_WRITES = frozenset({"POST trainjobs", "PATCH jobs/status", "POST pods", "PATCH pods/status"})
_BENCH_OBJECTS = frozenset({"trainjobs", "pods"})


@dataclass(frozen=True)
class Cost:
    """Seconds to create and to finish; per TrainJob processor milliseconds, writes and objects of both managers.

    `others` is the share of the processors that went to something else on the machine.
    """

    posted: float
    create: float
    finish: float
    cpu: float
    writes: float
    objects: float
    others: float


@dataclass(frozen=True)
class _World:
    api: Api
    cluster: str
    managers: dict[str, int]

    async def mark(self) -> Mark:
        return await marks.mark(self.api, self.cluster, self.managers)

    async def quiet(self, limit: float) -> None:
        await marks.quiet(self.api, [_flow(peer) for peer in _PEERS], limit)


async def measures(count: int, *, shipped_limits: bool = False, with_pods: bool = False) -> list[Measure]:
    """The peer's figures, and ours for one stage with those as targets.

    A TrainJob is one Job, ours are four, one after the other: the whole life is divided by four. The peer's Jobs have
    pods like ours only on request: without them its figures are as low as they can be.
    """
    peer = await _run(count, {} if shipped_limits else _LIMIT, with_pods=with_pods)
    ours = await life.run(count)
    return compared(count, peer, ours)


def compared(count: int, peer: Cost, ours: Life) -> list[Measure]:
    """Lines for people: each figure of the peer, then ours for one stage against it."""
    stages = len(Stage)
    figures = (
        ("first create to every first Job", "s", peer.create, ours.start.create),
        # ours includes making the next three Jobs, and pods that start, run for a second and end
        ("Jobs may end to all complete", "s", peer.finish, ours.finish / stages),
        ("creating and finishing", "s", peer.create + peer.finish, (ours.start.create + ours.finish) / stages),
        ("operator CPU per job", "ms", peer.cpu, ours.cpu / stages),
        ("API writes per job", "", peer.writes, ours.writes / stages),
        ("objects made per job", "", peer.objects, ours.objects / stages),
    )
    lines = []
    for name, unit, theirs, one_stage in figures:
        lines.append(Measure(f"{count:,} TrainJobs: {name}", theirs, unit))
        lines.append(Measure(f"ours per stage: {name}", one_stage, unit, round(theirs, 2)))
    return [
        *lines,
        Measure(f"{count:,} TrainJobs: all posted", peer.posted, "s"),
        Measure(f"{count:,} jobs of ours: all posted", ours.start.posted, "s"),
        Measure("other work on the machine beside TrainJobs", peer.others, "%"),
        Measure("other work on the machine beside ours", ours.others, "%"),
    ]


async def _run(count: int, limit: Document, *, with_pods: bool) -> Cost:
    async with _fresh_world(limit) as world:
        before = await world.mark()
        posted, create = await _create(world, count)
        await world.quiet(_patience(count))
        created = await world.mark()
        print(f"{count} TrainJobs in {create:.1f} s\n{(created - before).describe(count)}", flush=True)
        finish = await _finish(world, count, with_pods=with_pods)
        await world.quiet(_patience(count))
        end = await world.mark()
        print(f"finished in {finish:.1f} s\n{(end - created).describe(count)}", flush=True)
    cost = end - before
    return Cost(
        posted=posted,
        create=create,
        finish=finish,
        cpu=1000 * sum(cost.cpu[name] for name in world.managers) / count,
        writes=sum(number for name, number in cost.counts.writes().items() if name not in _BENCH_WRITES) / count,
        objects=sum(number for name, number in cost.counts.created().items() if name not in _BENCH_OBJECTS) / count,
        others=cost.share_of_others(),
    )


async def _create(world: _World, count: int) -> tuple[float, float]:
    """Seconds until all TrainJobs are posted, and until all their Jobs exist."""
    seen = Seen(count)
    posting = world.api.post_all(_TRAINJOBS, [_trainjob(number) for number in range(count)])
    return await seen.after(seen.watch(world.api, _JOBS), posting, _patience(count))


async def _finish(world: _World, count: int, *, with_pods: bool) -> float:
    """Seconds from when the Jobs may end until all TrainJobs are Complete."""
    seen = Seen(count)
    watching = asyncio.create_task(seen.watch(world.api, _TRAINJOBS, _is_complete, (b'"Complete"',)))
    try:
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            if with_pods:
                await stack.enter_async_context(StagePlayer(world.api, _NAMESPACE, message=lambda _: ""))
            else:
                await _complete_all(world.api)
            await asyncio.wait_for(seen.reached.wait(), _patience(count))
    finally:
        watching.cancel()
    return seen.at - began


async def _complete_all(api: Api) -> None:
    """Write the status of each Job as the Job controller does at success."""
    jobs = json.loads(await api.text("GET", _JOBS))["items"]
    started, slots = now(), asyncio.Semaphore(_PATCHES_AT_ONCE)

    async def complete(job: Document) -> None:
        async with slots:
            await api.patch_status(f"{_JOBS}/{job['metadata']['name']}", completed(started))

    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(complete(job))


def _patience(count: int) -> float:
    """Seconds after which something must be wrong."""
    return 60 + count / 5


@asynccontextmanager
async def _fresh_world(limit: Document) -> AsyncIterator[_World]:
    """A control plane without nodes, as for our own figures, and both managers."""
    cluster, paths = f"bench-peer-{os.getpid()}", from_environment()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peer-")))
        server = stack.enter_context(apiserver.running(cluster, audit_log=False))
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}})
        # made by a controller that does not run here; without it no pod can be created
        accounts = f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts"
        server.request("POST", accounts, {"metadata": {"name": "default"}})
        pids = {}
        for peer in _PEERS:
            (folder / peer.name).mkdir()
            subject = account(programs.manifests(paths, peer))
            server.request("POST", _FLOWS, flow_schema(_flow(peer), peer.namespace, subject))
            running = process.running(paths, server, peer, folder / peer.name, limit)
            pids[peer.name] = (await asyncio.to_thread(stack.enter_context, running)).pid
        api = await stack.enter_async_context(Api(server))
        await api.post(f"/apis/{_API}/clustertrainingruntimes", _runtime())
        world = _World(api, cluster, pids)
        await world.quiet(60)
        yield world


def _flow(peer: Manager) -> str:
    """The flow schema in which the manager's requests are counted."""
    return f"{FLOW_PREFIX}{peer.name}"


def _runtime() -> Document:
    """One pod in one Job, which no controller takes on: only the managers work."""
    container = {"name": "node", "image": "bench.example/none", "command": ["true"]}
    job = {
        "backoffLimit": 0,
        "managedBy": "bench.example/nobody",
        "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
    }
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    replicated = {"name": "node", "template": {"metadata": {"labels": labels}, "spec": job}}
    return {
        "apiVersion": _API,
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": _RUNTIME, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [replicated]}},
        },
    }


def _trainjob(number: int) -> Document:
    runtime = {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": _RUNTIME}
    return {
        "apiVersion": _API,
        "kind": "TrainJob",
        "metadata": {"name": f"job-{number:05d}"},
        "spec": {"runtimeRef": runtime},
    }


def _is_complete(trainjob: Document) -> bool:
    conditions = trainjob.get("status", {}).get("conditions", [])
    return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)
