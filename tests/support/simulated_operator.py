"""The operator's own runtime, all of it but Kopf, in a world of virtual time: it crashes, restarts, and sees late."""

from __future__ import annotations

import asyncio
from typing import Any

from support.simulated_api import SimulatedApi, Store
from support.simulated_mlflow import SimulatedMlflow, Tracking
from support.virtual_time import VirtualClock
from support.worlds import config
from vernacular_operator.kube.api import JOBS, PODS, Object
from vernacular_operator.runtime.controller import Controller
from vernacular_operator.telemetry.metrics import Metrics, OperatorState

STREAMS = ("finetunejobs", "jobs", "pods")
_LABEL = "app.kubernetes.io/managed-by"


class SimulatedOperator:
    """One process after the other. `blind` names streams that stand still for now."""

    def __init__(self, store: Store, tracking: Tracking) -> None:
        self._store = store
        self._tracking = tracking
        self._tasks: list[asyncio.Task[Any]] = []
        self.blind: set[str] = set()
        self.starts = 0

    @property
    def dead(self) -> bool:
        """Whether no process works."""
        return not self._tasks or self.api.dead.is_set()

    @property
    def ended(self) -> bool:
        """Whether the process ended by itself, which it never should."""
        return any(task.done() for task in self._tasks)

    def start(self) -> None:
        """Start a process: it lists, then watches."""
        self.starts += 1
        self.api = SimulatedApi(self._store)
        self._delivered: dict[str, list[tuple[str, Object]]] = {name: [] for name in STREAMS}
        mlflow = SimulatedMlflow(self._tracking, self.api.alive)
        self._controller = Controller(self.api, mlflow, config(), VirtualClock(self._store.loop), "cluster", Metrics())
        for name in STREAMS:
            self.relist(name)
        self._tasks = [self._store.loop.create_task(self._controller.run())]

    def crash(self) -> None:
        """Nothing is finished, nothing is cleaned up."""
        if self._tasks:
            self.api.dead.set()
            for task in self._tasks:
                task.cancel()
        self._tasks = []

    def state(self) -> OperatorState:
        """What the metrics of the process show."""
        found: list[OperatorState] = []
        self._store.loop.within(lambda: found.append(self._controller.state()))
        return found[0]

    def relist(self, stream: str) -> None:
        """The watch broke: what happened meanwhile is never told, what exists is told again."""
        self._store.streams[stream] = [("", item) for item in self._store.list(stream)]

    def tell_again(self, stream: str, count: int) -> None:
        """The newest events come once more."""
        for event, document in self._delivered[stream][-count:]:
            self._tell(stream, event, document)

    def look(self) -> None:
        """Let the watches tell what they have."""
        if self.dead:
            return
        for name in STREAMS:
            if name not in self.blind:
                events, self._store.streams[name] = self._store.streams[name], []
                for event, document in events:
                    self._delivered[name] = [*self._delivered[name][-9:], (event, document)]
                    self._tell(name, event, document)

    def _tell(self, stream: str, event: str, document: Object) -> None:
        if stream == "finetunejobs":
            self._controller.job_event(document, deleted=event == "DELETED", listed=not event)
        elif _LABEL in (document["metadata"].get("labels") or {}):
            kind = JOBS if stream == "jobs" else PODS
            self._controller.child_event(kind, document, deleted=event == "DELETED", listed=not event)
