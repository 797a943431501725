"""FineTuneJobs from Python: typed, with the rights and the kubeconfig of the person who runs the program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vernacular.api import FineTuneJob
from vernacular.cli.cluster.client import Client as ApiClient
from vernacular.cli.cluster.following import versions
from vernacular.cli.cluster.jobs import Jobs
from vernacular.cli.cluster.kubeconfig import find_access
from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError as VernacularError

Json = dict[str, Any]

__all__ = ["AsyncClient", "AsyncSubmittedJob", "Client", "SubmittedJob", "VernacularError"]


class Client:
    """The jobs of one namespace. Every method raises VernacularError, which says what to do."""

    def __init__(
        self, namespace: str | None = None, *, context: str | None = None, kubeconfig: str | None = None
    ) -> None:
        """`namespace`: that of the context when it is None. Which cluster: as kubectl finds it."""
        access = find_access(kubeconfig, context, os.environ, Path.home())
        chosen = namespace or access.namespace
        self._jobs = Jobs(ApiClient(access), chosen, Commands("vernacular", chosen, context, kubeconfig))

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self._jobs.namespace

    def submit(self, job: FineTuneJob, *, dry_run: bool = False) -> SubmittedJob:
        """Create a job, in the client's namespace; with `dry_run` the cluster only says whether it would."""
        wanted = job.metadata.namespace
        if "namespace" in job.metadata.model_fields_set and wanted != self.namespace:
            raise VernacularError(
                f"the job names the namespace {wanted}, and this client is of {self.namespace}",
                f'submit it with Client("{wanted}"), or leave metadata.namespace out',
            )
        self._jobs.create(_to_create(job), dry_run=dry_run)
        return SubmittedJob(self._jobs, job.metadata.name)

    def get(self, name: str) -> SubmittedJob:
        """A job that is there."""
        self._jobs.one(name)
        return SubmittedJob(self._jobs, name)

    def list(self) -> list[FineTuneJob]:
        """All jobs as they are now, the newest last."""
        return [_typed(item) for item in self._jobs.all()]


class SubmittedJob:
    """One job of a cluster. Every method raises VernacularError."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._jobs = jobs
        self.name = name

    def __repr__(self) -> str:
        return f"SubmittedJob({self._jobs.namespace}/{self.name})"

    def read(self) -> FineTuneJob:
        """The job as it is now."""
        return _typed(self._jobs.one(self.name))

    def watch(self) -> Iterator[FineTuneJob]:
        """The job as it is and each time that it changes, until it has ended.

        A cluster that goes away for some minutes is waited for. Raises VernacularError when the job is deleted.
        """
        for item in versions(self._jobs, self.name, lambda _: None):
            job = _typed(item)
            yield job
            if job.status.terminal:
                return
        raise VernacularError(f"FineTuneJob {self.name} was deleted while it was watched", "its run in MLflow stays")

    def wait(self) -> FineTuneJob:
        """The job when it has ended, well or not: `status.failure` says which."""
        *_, last = self.watch()
        return last

    def suspend(self) -> None:
        """Save a checkpoint and stop."""
        self._jobs.set_run_policy(self.name, {"suspend": True})

    def resume(self) -> None:
        """Go on after `suspend`."""
        self._jobs.set_run_policy(self.name, {"suspend": False})

    def cancel(self) -> None:
        """End for good; the records stay."""
        self._jobs.set_run_policy(self.name, {"activeDeadlineSeconds": 0, "suspend": False})

    def delete(self) -> None:
        """Remove the job, with its workspace unless that is to stay."""
        self._jobs.delete(self._jobs.one(self.name))


class AsyncClient:
    """The same for programs with an event loop, which is never held up."""

    def __init__(
        self, namespace: str | None = None, *, context: str | None = None, kubeconfig: str | None = None
    ) -> None:
        self._client = Client(namespace, context=context, kubeconfig=kubeconfig)

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self._client.namespace

    async def submit(self, job: FineTuneJob, *, dry_run: bool = False) -> AsyncSubmittedJob:
        """Create a job."""
        return AsyncSubmittedJob(await asyncio.to_thread(self._client.submit, job, dry_run=dry_run))

    async def get(self, name: str) -> AsyncSubmittedJob:
        """A job that is there."""
        return AsyncSubmittedJob(await asyncio.to_thread(self._client.get, name))

    async def list(self) -> list[FineTuneJob]:
        """All jobs as they are now, the newest last."""
        return await asyncio.to_thread(self._client.list)


class AsyncSubmittedJob:
    """One job of a cluster."""

    def __init__(self, job: SubmittedJob) -> None:
        self._job = job

    @property
    def name(self) -> str:
        """Name of the job."""
        return self._job.name

    async def read(self) -> FineTuneJob:
        """The job as it is now."""
        return await asyncio.to_thread(self._job.read)

    async def watch(self) -> AsyncIterator[FineTuneJob]:
        """The job as it is and each time that it changes, until it has ended."""
        queue: asyncio.Queue[FineTuneJob | Exception | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def follow() -> None:
            # a loop that is closed refuses: nobody listens any more
            with contextlib.suppress(RuntimeError):
                for item in self._seen():
                    loop.call_soon_threadsafe(queue.put_nowait, item)

        # a watch waits for minutes in silence: a thread of the loop's own pool would hold up the end of the program
        threading.Thread(target=follow, name=f"watch-{self.name}", daemon=True).start()
        while (item := await queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _seen(self) -> Iterator[FineTuneJob | Exception | None]:
        """What a watch sees, and how it ends: None, or the error, whatever it is, because somebody waits for it."""
        try:
            yield from self._job.watch()
            yield None
        except Exception as error:
            yield error

    async def wait(self) -> FineTuneJob:
        """The job when it has ended, well or not."""
        return [job async for job in self.watch()][-1]

    async def suspend(self) -> None:
        """Save a checkpoint and stop."""
        await asyncio.to_thread(self._job.suspend)

    async def resume(self) -> None:
        """Go on after `suspend`."""
        await asyncio.to_thread(self._job.resume)

    async def cancel(self) -> None:
        """End for good; the records stay."""
        await asyncio.to_thread(self._job.cancel)

    async def delete(self) -> None:
        """Remove the job."""
        await asyncio.to_thread(self._job.delete)


def _typed(document: Json) -> FineTuneJob:
    """Fields of a newer cluster are left out of the status, and refused in the spec. Raises VernacularError."""
    try:
        return FineTuneJob.model_validate(document)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise VernacularError(
            f"FineTuneJob {document['metadata']['name']} has what this client does not know: {place}: {found['msg']}",
            "install the client of the cluster's release",
        ) from error


def _to_create(job: FineTuneJob) -> Json:
    """What its author has set, and nothing that only a cluster writes."""
    document = job.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    metadata = {
        key: document["metadata"][key] for key in ("name", "labels", "annotations") if document["metadata"].get(key)
    }
    return {"apiVersion": job.api_version, "kind": job.kind, "metadata": metadata, "spec": document["spec"]}
