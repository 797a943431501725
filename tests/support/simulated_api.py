"""An API server in memory for property tests: versions, preconditions, watches; each call may fail or be the last one.

Documents in the store are never changed in place, so that every version stays what it was.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from support.history import Change
from support.virtual_time import VirtualClock, VirtualLoop
from vernacular_operator.kube.api import Kind, Object, Page
from vernacular_operator.kube.errors import NotFoundError, error_for

_KINDS = {"finetunejobs": "FineTuneJob", "jobs": "Job", "pods": "Pod"}
_LATENCY_SECONDS = 0.002


class Trouble(StrEnum):
    """What may happen to one call."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    NO_ANSWER = "the answer is lost"
    UNAVAILABLE = "500"
    CONFLICT = "409"
    REFUSED = "422"


@dataclass
class Store:
    """What the server keeps. `tell` hears of every change, in order."""

    loop: VirtualLoop
    tell: Callable[[Change], None]
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)  # by plural and name, in one namespace
    version: int = 0
    streams: dict[str, list[tuple[str, Object]]] = field(default_factory=lambda: {plural: [] for plural in _KINDS})

    def list(self, plural: str) -> list[Object]:
        """All objects of a kind."""
        return [item for (kind, _), item in self.objects.items() if kind == plural]

    def find(self, plural: str, name: str) -> Object | None:
        return self.objects.get((plural, name))

    def create(self, plural: str, body: Object) -> Object:
        """Raises AlreadyExistsError when the name is taken."""
        name = body["metadata"]["name"]
        if (plural, name) in self.objects:
            raise error_for(409, f"{plural} {name} exists", "AlreadyExists")
        metadata = {
            "namespace": "demo", **body["metadata"], "uid": str(uuid.UUID(int=(self.version + 1) << 108)),
            "generation": 1, "creationTimestamp": VirtualClock(self.loop).now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        return self._put(plural, {**copy.deepcopy(body), "metadata": metadata}, "ADDED")

    def update(self, plural: str, name: str, change: Callable[[Object], None]) -> Object:
        """Store a changed copy."""
        document = copy.deepcopy(self.objects[plural, name])
        change(document)
        return self._put(plural, document, "MODIFIED")

    def remove(self, plural: str, name: str) -> None:
        """The object is gone."""
        self._put(plural, copy.deepcopy(self.objects[plural, name]), "DELETED")
        del self.objects[plural, name]

    def _put(self, plural: str, document: Object, event: str) -> Object:
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self.objects[plural, document["metadata"]["name"]] = document
        if plural in _KINDS:
            self.streams[plural].append((event, document))
            self.tell(Change(self.version, _KINDS[plural], event == "DELETED", document, self.loop.time()))
        return document


class SimulatedApi:
    """KubeClient of one life of the operator: once it is dead, no call of it reaches the store.

    `trap` is what happens to which call from now: a number that counts down, and the trouble.
    """

    def __init__(self, store: Store) -> None:
        self.dead = asyncio.Event()
        self.trap: tuple[int, Trouble] | None = None
        self._store = store

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return await self._call(lambda: self._found(kind, name))

    async def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        wanted = dict(item.split("=", 1) for item in selector.split(",") if item)
        for item in await self._call(lambda: self._store.list(kind.plural)):
            if wanted.items() <= (item["metadata"].get("labels") or {}).items():
                yield copy.deepcopy(item)

    async def pages(self, kind: Kind, namespace: str, selector: str = "") -> AsyncIterator[Page]:
        yield Page([item async for item in self.list(kind, namespace, selector)], str(self._store.version))

    async def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Tells nothing: the simulated operator is told by hand what its watches would tell."""
        await asyncio.Future()
        yield "", {}

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        return await self._call(lambda: self._store.create(kind.plural, body), writes=True)

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        def write() -> Object:
            wanted = patch["metadata"]["resourceVersion"]
            if self._found(kind, name)["metadata"]["resourceVersion"] != wanted:
                raise error_for(409, f"{name} was changed")
            return self._store.update(kind.plural, name, lambda item: _merge(item, {"status": patch["status"]}))

        return await self._call(write, writes=True)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        def remove() -> None:
            found = self._store.find(kind.plural, name)
            if found and found["metadata"]["uid"] == uid:
                self._store.remove(kind.plural, name)

        await self._call(remove, writes=True)

    async def close(self) -> None:
        return

    def _found(self, kind: Kind, name: str) -> Object:
        if kind.plural == "namespaces":
            return {"metadata": {"uid": "cluster"}}
        if (found := self._store.find(kind.plural, name)) is None:
            raise NotFoundError(f"no {name}", 404)
        return copy.deepcopy(found)

    async def _call(self, work: Callable[[], Any], *, writes: bool = False) -> Any:
        await self.alive()
        trouble = self._sprung(writes)
        if trouble is Trouble.CRASH_BEFORE:
            await self._die()
        elif trouble in (Trouble.UNAVAILABLE, Trouble.CONFLICT, Trouble.REFUSED):
            raise error_for(int(trouble), "injected")
        answer = work()
        if trouble is Trouble.CRASH_AFTER:
            await self._die()
        elif trouble is Trouble.NO_ANSWER:
            raise error_for(500, "the answer was lost")
        await self.alive()
        return copy.deepcopy(answer)

    async def alive(self) -> None:
        """Take a moment; a dead process does not go on after it."""
        await asyncio.sleep(_LATENCY_SECONDS)
        if self.dead.is_set():
            await asyncio.Future()

    def _sprung(self, writes: bool) -> Trouble | None:
        if self.trap is None or (not writes and self.trap[1] in (Trouble.CONFLICT, Trouble.REFUSED)):
            return None
        number, trouble = self.trap
        self.trap = (number - 1, trouble) if number else None
        return None if number else trouble

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Future()


def _merge(document: Object, patch: Object) -> None:
    """RFC 7396, in place."""
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        elif isinstance(value, dict):
            if not isinstance(document.get(name), dict):
                document[name] = {}
            _merge(document[name], value)
        else:
            document[name] = copy.deepcopy(value)
