"""A fresh control plane with the chart installed, the operator as a process of its own, and MLflow's responder."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.operator import marks
from bench.operator.api import Api, flow_schema
from bench.operator.marks import FLOW_PREFIX, Mark
from bench.operator.mlflow import CountingMlflow
from bench.processes import resident_mb
from support import apiserver
from support.apiserver import ApiServer
from support.deployed_operator import installed, operator
from support.finetunejobs import finetunejob
from support.helm import Helm
from support.operator_process import OperatorProcess

FLOW = f"{FLOW_PREFIX}operator"
SYSTEM = "system"


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
        await self.api.post_all(self.jobs, [finetunejob(f"job-{first + number:05d}") for number in range(count)])

    async def quiet(self, limit: float = 60) -> None:
        """Wait until the operator has sent nothing for a while. Raises TimeoutError when it goes on."""
        await marks.quiet(self.api, [FLOW], limit)

    async def mark(self) -> Mark:
        """The moment, with everything that is counted."""
        assert self.operator
        return await marks.mark(self.api, self.cluster, {"operator": self.operator.pid})

    def operator_memory(self, kind: str = "VmRSS") -> float:
        """Resident memory of the operator in MB."""
        assert self.operator
        return resident_mb(self.operator.pid, kind)


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
