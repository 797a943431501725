"""The FineTuneRuntimes of the cluster, listed when a job is to be accepted.

They are not watched: they matter for that moment alone, and then only what they are at that moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

from pydantic import ValidationError

from vernacular.api import FineTuneJob, FineTuneRuntime
from vernacular.api.constants import GROUP, RUNTIME_PLURAL, VERSION
from vernacular_operator.domain.snapshot import RuntimeChoice
from vernacular_operator.kube.api import Kind, KubeApi
from vernacular_operator.kube.errors import NotFoundError

_log = logging.getLogger(__name__)
FINE_TUNE_RUNTIMES = Kind(GROUP, VERSION, RUNTIME_PLURAL)

_Listing = asyncio.Task[tuple[FineTuneRuntime, ...]]


class RuntimeCatalog:
    """Many jobs that are accepted at once share a list, but none gets one that began before it asked."""

    def __init__(self, api: KubeApi, *, readable: bool) -> None:
        self._api = api
        self._readable = readable
        self._running: _Listing | None = None
        self._waiting: _Listing | None = None

    async def choose(self, job: FineTuneJob) -> RuntimeChoice:
        """The runtime that the job names, else the default one. Raises KubeError when the list fails."""
        if not self._readable:
            return RuntimeChoice(readable=False)
        runtimes = await self._list()
        wanted = job.spec.runtime_ref
        if wanted is None:
            return RuntimeChoice(_default(runtimes))
        return RuntimeChoice(next((item for item in runtimes if item.metadata.name == wanted.name), None))

    async def _list(self) -> tuple[FineTuneRuntime, ...]:
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_after(self._running), name="runtimes")
        # whoever gives up must not take the list away from the others
        return await asyncio.shield(self._waiting)

    async def _read_after(self, running: _Listing | None) -> tuple[FineTuneRuntime, ...]:
        if running is not None:
            await asyncio.wait((running,))
        self._running, self._waiting = self._waiting, None
        try:
            return tuple([item async for item in self._read()])
        except NotFoundError:
            # the chart was installed without its CustomResourceDefinitions, and this one is missing
            return ()

    async def _read(self) -> AsyncIterator[FineTuneRuntime]:
        async for document in self._api.list(FINE_TUNE_RUNTIMES, ""):
            try:
                yield FineTuneRuntime.model_validate(document)
            except ValidationError as error:
                _log.error("FineTuneRuntime %s cannot be read: %s", document["metadata"]["name"], error)


def _default(runtimes: Iterable[FineTuneRuntime]) -> FineTuneRuntime | None:
    """The newest of those marked as default, as with StorageClasses."""
    marked = (item for item in runtimes if item.is_default)
    return max(marked, key=lambda item: (item.metadata.creation_timestamp or "", item.metadata.name), default=None)
