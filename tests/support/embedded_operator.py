"""The operator inside a test's event loop, and a user's view of one namespace."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.apiserver import MERGE_PATCH, ApiServer
from support.service_accounts import operator_account
from vernacular_operator.cli import operate
from vernacular_operator.config import OperatorConfig, parse_config

Document = dict[str, Any]


def operator_config(tracking_uri: str, namespace: str, **changes: Any) -> OperatorConfig:
    """A configuration that watches one namespace and polls fast."""
    document = {
        "images": {"data": "example.org/data:1", "trainer": "example.org/trainer:1"},
        "mlflow": {"trackingUri": tracking_uri, "externalUrl": "https://mlflow.example.org"},
        "watchNamespaces": [namespace],
        "progressIntervalSeconds": 0.5,
        "resyncSeconds": 5,
        "workers": 4,
    }
    return parse_config(document | changes)


@asynccontextmanager
async def running_operator(server: ApiServer, config: OperatorConfig) -> AsyncIterator[None]:
    """Runs the whole operator, Kopf included, with its rights and no others; fails the test when it ends by itself."""
    stop, ready = asyncio.Event(), asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        namespaces = config.watch_namespaces
        kubeconfig = await asyncio.to_thread(operator_account, server, namespaces, Path(folder))
        task = asyncio.create_task(operate(config, kubeconfig, stop=stop, ready=ready))
        started = asyncio.create_task(ready.wait())
        await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert started.done(), "the operator did not start"
        try:
            yield
            assert not task.done(), f"the operator ended by itself: {task.exception()}"
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until a condition holds. Raises TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.1)


class User:
    """Creates and watches FineTuneJobs of one namespace."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Document:
        return await asyncio.to_thread(self.server.request, method, path, body, content_type)

    def path(self, name: str = "") -> str:
        return f"/apis/vernacular.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs" + (f"/{name}" if name else "")

    async def create(self, name: str, **spec: Any) -> Document:
        body = {
            "apiVersion": "vernacular.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": name},
            "spec": {
                "model": {"uri": "pvc://models/tiny"},
                "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
                "compute": {"gpusPerPod": 0},
                **spec,
            },
        }
        return await self.request("POST", self.path(), body)

    async def get(self, name: str) -> Document:
        return await self.request("GET", self.path(name))

    async def suspend(self, name: str, value: bool) -> None:
        patch = {"spec": {"runPolicy": {"suspend": value}}}
        await self.request("PATCH", self.path(name), patch, MERGE_PATCH)

    async def jobs(self) -> list[Document]:
        answer = await self.request("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs")
        return list(answer["items"])

    async def events(self) -> list[Document]:
        answer = await self.request("GET", f"/api/v1/namespaces/{self.namespace}/events")
        return [item for item in answer["items"] if item["involvedObject"]["kind"] == "FineTuneJob"]

    async def until(self, name: str, holds: Callable[[Document], bool], seconds: float = 60) -> Document:
        """Wait until the status satisfies a condition; returns the job. Fails with the last status seen."""
        job: Document = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    job = await self.get(name)
                    if holds(job.get("status", {})):
                        return job
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; last status: {job.get('status')}") from None

    async def until_state(self, name: str, state: str, seconds: float = 60) -> Document:
        return await self.until(name, lambda status: status.get("state") == state, seconds)


def condition(job: Document, kind: str) -> str:
    """The status of a condition."""
    return next(item["status"] for item in job["status"]["conditions"] if item["type"] == kind)


def stage(job: Document, name: str) -> Document:
    """What the status says about a stage."""
    return next(item for item in job["status"]["stages"] if item["name"] == name)
