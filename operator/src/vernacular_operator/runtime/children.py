"""Follows the stages' Jobs and pods: a list, then a watch, for ever.

Not by Kopf, which keeps a task and a memory for each object and takes a millisecond for each event: nine of ten objects
here are children, and all that is wanted of them is a few facts in the cache.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Protocol

from vernacular.api.constants import LABEL_MANAGED_BY, MANAGED_BY
from vernacular_operator.kube.api import Kind, KubeWatch, Object
from vernacular_operator.kube.errors import GoneError, KubeError

_log = logging.getLogger(__name__)
SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
# seconds: after a failure, after many, and at most after a watch that ended in order
_FIRST_PAUSE, _LONGEST_PAUSE, _BETWEEN = 1.0, 30.0, 0.5


class ChildEvent(Protocol):
    """Told of each child that exists, changes or is deleted; `listed`: by a list, not by the watch after it."""

    def __call__(self, kind: Kind, document: Object, *, deleted: bool, listed: bool) -> None: ...


class ChildWatch:
    """One kind in one namespace ("" for all). `listed` is set once everything that exists was told; `begin` is called
    with the namespace before each list.
    """

    def __init__(
        self,
        api: KubeWatch,
        kind: Kind,
        namespace: str,
        tell: ChildEvent,
        selector: str = SELECTOR,
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._tell = tell
        self._selector = selector
        self._begin = begin
        self._version = ""
        self._pause = _FIRST_PAUSE
        self.listed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What vanishes while no watch is open is for the resync to find: a new list has it look."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                pause = random.uniform(0.0, _BETWEEN)
            except GoneError:
                self._version, pause = "", 0.0
            except KubeError as error:
                pause = self._pause * random.uniform(0.5, 1.0)
                self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
                _log.warning("watch of %s: %s; again in %.1f s", self._kind.plural, error, pause)
            await asyncio.sleep(pause)

    async def _list(self) -> None:
        version = ""
        self._begin(self._namespace)
        async for page in self._api.pages(self._kind, self._namespace, self._selector):
            for document in page.items:
                self._tell(self._kind, document, deleted=False, listed=True)
            version = page.version
        self._version = version
        self.listed.set()

    async def _watch(self) -> None:
        """Until the server ends it, as it does every few minutes."""
        async for kind, document in self._api.watch(self._kind, self._namespace, self._selector, self._version):
            self._pause = _FIRST_PAUSE
            if kind != "BOOKMARK":
                self._tell(self._kind, document, deleted=kind == "DELETED", listed=False)
            self._version = document["metadata"]["resourceVersion"]
