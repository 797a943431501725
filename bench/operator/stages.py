"""Plays Job controller and kubelet for the stages' Jobs: one pod each, its report, and the statuses that follow.

The real ones write more often; what they write is the same, and every state is held long enough to be seen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from types import TracebackType

from bench.operator.api import Api, Document
from support.simulated_kubelet import Behaviour, succeed
from vernacular_trainer.contract import JOB_ANNOTATION, JobConfig

Message = Callable[[Document], str | None]

_AT_ONCE = 16


def now() -> str:
    """This moment as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stage_report(job: Document, script: Callable[[JobConfig], Behaviour] = succeed) -> str | None:
    """What the stage of ours in this Job leaves behind when it behaves as the script says; None when it never ends."""
    config = JobConfig.from_json(job["spec"]["template"]["metadata"]["annotations"][JOB_ANNOTATION])
    behaviour = script(config)
    if behaviour.hold:
        return None
    found = behaviour.report or succeed(config).report
    assert found
    return found.to_json()


class StagePlayer(AbstractAsyncContextManager["StagePlayer"]):
    """Plays every Job of a namespace, also those that exist. A pod runs for `seconds`.

    `message` is what a Job's pod leaves behind, None for a pod that runs for ever; `running` has these by Job.
    """

    def __init__(self, api: Api, namespace: str, *, seconds: float = 1.0, message: Message = stage_report) -> None:
        self._api = api
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._seconds = seconds
        self._message = message
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: asyncio.TaskGroup | None = None
        self._watching: asyncio.Task[None] | None = None
        self.running: dict[str, Document] = {}

    async def __aenter__(self) -> StagePlayer:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._watching = self._tasks.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks
        assert self._watching
        self._watching.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def set_container(self, pod: Document, phase: str, state: Document, *, ready: bool) -> None:
        """What the kubelet says of the pod's only container."""
        container = pod["spec"]["containers"][0]
        status = {
            "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
            "ready": ready, "started": ready, "state": state,
        }  # fmt: skip
        body = {"phase": phase, "startTime": now(), "containerStatuses": [status]}
        async with self._slots:
            await self._api.patch_status(f"{self._pods}/{pod['metadata']['name']}", body)

    async def _watch(self) -> None:
        assert self._tasks
        played: set[str] = set()
        async for line in self._api.watch(self._jobs):
            job = json.loads(line)["object"]
            if (uid := job["metadata"]["uid"]) not in played:
                played.add(uid)
                self._tasks.create_task(self._play(job))

    async def _play(self, job: Document) -> None:
        message, started = self._message(job), now()
        async with self._slots:
            pod = await self._api.post(self._pods, _pod(job))
        await self.set_container(pod, "Running", {"running": {"startedAt": now()}}, ready=True)
        if message is None:
            self.running[job["metadata"]["name"]] = pod
            return
        await asyncio.sleep(self._seconds)
        ended = {"exitCode": 0, "reason": "Completed", "message": message, "finishedAt": now()}
        await self.set_container(pod, "Succeeded", {"terminated": {**ended, "startedAt": started}}, ready=False)
        await self._set_job(job, completed(started))

    async def _set_job(self, job: Document, status: Document) -> None:
        async with self._slots:
            await self._api.patch_status(f"{self._jobs}/{job['metadata']['name']}", status)


def completed(started: str) -> Document:
    """The status of a Job of one pod that succeeded."""
    moment = now()
    conditions = [
        {
            "type": kind, "status": "True", "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods", "lastProbeTime": moment,
            "lastTransitionTime": moment,
        }
        for kind in ("SuccessCriteriaMet", "Complete")
    ]  # fmt: skip
    return {
        "startTime": started, "completionTime": moment, "succeeded": 1, "active": 0, "ready": 0, "terminating": 0,
        "uncountedTerminatedPods": {}, "conditions": conditions,
    }  # fmt: skip


def _pod(job: Document) -> Document:
    """The Job's pod as the Job controller makes it, bound at once."""
    metadata, template = job["metadata"], job["spec"]["template"]
    owner = {
        "apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    return {
        "metadata": {**template["metadata"], "generateName": f"{metadata['name']}-", "ownerReferences": [owner]},
        "spec": {**template["spec"], "nodeName": "simulated"},
    }
