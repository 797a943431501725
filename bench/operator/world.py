"""A fresh control plane with the chart installed, the operator as a process of its own, and MLflow's responder."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.operator.api import Api, Counts, flow_schema
from bench.operator.mlflow import CountingMlflow
from bench.operator.processes import component_pid, cpu_seconds, machine_cpu_seconds, resident_mb
from support import apiserver
from support.apiserver import ApiServer
from support.deployed_operator import installed, operator
from support.finetunejobs import finetunejob
from support.helm import Helm
from support.operator_process import OperatorProcess

FLOW = "bench-operator"
SYSTEM = "system"
_QUIET_SECONDS = 2.0
_POSTS_AT_ONCE = 8


@dataclass
class World:
    """`stack` holds what ends with the world; the operator is started and stopped on its own."""

    server: ApiServer
    api: Api
    mlflow: CountingMlflow
    cluster: str
    folder: Path
    namespace: str
    operator: OperatorProcess | None = None
    _operator: ExitStack = field(default_factory=ExitStack)

    @property
    def jobs(self) -> str:
        """Path of the FineTuneJobs."""
        return f"/apis/vernacular.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs"

    async def start_operator(self) -> None:
        """Start it and wait until its probe says that it works."""
        self.operator = await asyncio.to_thread(
            self._operator.enter_context, operator(self.server, SYSTEM, self.folder)
        )

    async def stop_operator(self) -> None:
        await asyncio.to_thread(self._operator.close)
        self.operator = None

    async def create_jobs(self, count: int, first: int = 0) -> None:
        """Create FineTuneJobs as fast as the API server takes them."""
        slots = asyncio.Semaphore(_POSTS_AT_ONCE)

        async def create(number: int) -> None:
            async with slots:
                await self.api.post(self.jobs, finetunejob(f"job-{number:05d}"))

        async with asyncio.TaskGroup() as tasks:
            for number in range(first, first + count):
                tasks.create_task(create(number))

    async def quiet(self, limit: float = 60) -> None:
        """Wait until the operator has sent nothing for a while. Raises TimeoutError when it goes on."""
        async with asyncio.timeout(limit):
            last, since = -1, time.monotonic()
            while time.monotonic() - since < _QUIET_SECONDS:
                await asyncio.sleep(0.25)
                sent = (await self.api.counts()).flows[FLOW]
                if sent != last:
                    last, since = sent, time.monotonic()

    async def mark(self) -> Mark:
        """The moment, with everything that is counted."""
        assert self.operator
        components = {name: component_pid(self.cluster, name) for name in ("kube-apiserver", "etcd")}
        cpu = {name: cpu_seconds(pid) for name, pid in components.items()}
        cpu |= {"operator": cpu_seconds(self.operator.pid), "bench": cpu_seconds(os.getpid())}
        cpu["machine"] = machine_cpu_seconds()
        return Mark(time.monotonic(), await self.api.counts(), cpu)

    def operator_memory(self, kind: str = "VmRSS") -> float:
        """Resident memory of the operator in MB."""
        assert self.operator
        return resident_mb(self.operator.pid, kind)


@dataclass(frozen=True)
class Mark:
    """A moment: monotonic seconds, requests counted so far, processor seconds used so far."""

    time: float
    counts: Counts
    cpu: dict[str, float]

    def __sub__(self, earlier: Mark) -> Mark:
        cpu = {name: seconds - earlier.cpu[name] for name, seconds in self.cpu.items()}
        cpu["others"] = cpu["machine"] - sum(seconds for name, seconds in cpu.items() if name != "machine")
        return Mark(self.time - earlier.time, self.counts - earlier.counts, cpu)

    def share_of_others(self) -> float:
        """Percent of the processors' time that went to what does not belong to the bench."""
        return 100 * max(0.0, self.cpu["others"]) / (self.time * (os.cpu_count() or 1))

    def describe(self, count: int) -> str:
        """For people: what it cost for each of `count` jobs."""
        cpu = ", ".join(f"{name} {seconds * 1000 / count:.1f}" for name, seconds in self.cpu.items())
        writes = ", ".join(f"{name} {number / count:.2f}" for name, number in sorted(self.counts.writes().items()))
        sent = self.counts.flows[FLOW] / count
        return f"  {self.time:.1f} s; CPU ms per job: {cpu}\n  operator sent {sent:.2f} per job; writes: {writes}"


@asynccontextmanager
async def fresh_world() -> AsyncIterator[World]:
    """Everything but the operator's process."""
    cluster = f"bench-{os.getpid()}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-operator-")))
        server = stack.enter_context(apiserver.running(cluster, audit_log=False))
        for namespace in (SYSTEM, "jobs"):
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        # made by a controller that does not run here; without it no pod can be created
        server.request("POST", "/api/v1/namespaces/jobs/serviceaccounts", {"metadata": {"name": "default"}})
        schema = flow_schema(FLOW, SYSTEM, "vernacular")
        server.request("POST", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", schema)
        mlflow = stack.enter_context(CountingMlflow())
        async with Api(server) as api:
            values = {"mlflow": {"trackingUri": mlflow.uri}, "rbac": {"aggregate": False}}
            stack.enter_context(installed(server, Helm.find(), SYSTEM, values))
            world = World(server, api, mlflow, cluster, folder, "jobs")
            try:
                yield world
            finally:
                await world.stop_operator()
