"""The operator without its watch layer: puts the parts together and runs workers, resync and progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Any

from vernacular_operator.config import OperatorConfig
from vernacular_operator.domain.plan import Plan, RunEnd
from vernacular_operator.domain.policies.ending import run_status
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import RunOpened, Snapshot
from vernacular_operator.kube.api import JOBS, PODS, WORKLOADS, Kind, KubeClient
from vernacular_operator.kube.errors import KubeError
from vernacular_operator.runtime.admissions import Admissions
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.children import ChildWatch
from vernacular_operator.runtime.clock import Clock
from vernacular_operator.runtime.events import EventPoster
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS, BlockedError, Executor, JobGoneError
from vernacular_operator.runtime.gaps import GapDetector
from vernacular_operator.runtime.health import Health
from vernacular_operator.runtime.observe import Observer
from vernacular_operator.runtime.progress import ProgressReader
from vernacular_operator.runtime.queue import WorkQueue
from vernacular_operator.runtime.resync import Resync
from vernacular_operator.runtime.sweep import RunSweeper
from vernacular_operator.runtime.tasks import apart, for_ever
from vernacular_operator.telemetry import logs
from vernacular_operator.telemetry.metrics import Metrics, OperatorState
from vernacular_operator.telemetry.running import running
from vernacular_operator.tracking.errors import TrackingError
from vernacular_operator.tracking.keeper import RunKeeper
from vernacular_operator.tracking.mlflow import MlflowClient, RunStatus

_log = logging.getLogger(__name__)
_VISIT_SECONDS = 90
_FIRST_RETRY_SECONDS = 5
_SUSPICION_SECONDS = 30
_LAST_EVENTS_SECONDS = 3


class Controller:
    """The watch layer calls `job_event`; `run` watches the children and does the work until it is cancelled."""

    def __init__(
        self,
        api: KubeClient,
        mlflow: MlflowClient,
        config: OperatorConfig,
        clock: Clock,
        cluster: str,
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._last_events: dict[str, datetime] = {}
        self._config = config
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue()
        self._mlflow = mlflow
        self._keeper = RunKeeper(mlflow, self._tell_uid)
        self._health = Health(clock, config.resync_seconds)
        self._gaps = GapDetector(clock.now())
        self._resync_soon = asyncio.Event()
        self._progress = ProgressReader(mlflow, self._cache, self._queue.add, clock, config.progress_interval_seconds)
        self._admissions = Admissions(self._queue.add)
        self._observer = Observer(api, self._cache, config, self._keeper, self._progress, self._admissions, cluster)
        self._events = EventPoster(api, lambda: len(self._queue) > 0)
        self._executor = Executor(api, self._cache, self._keeper, self._health, metrics, self._events)
        namespaces = config.watch_namespaces
        self._watches = [
            ChildWatch(api, kind, namespace, self.child_event)
            for namespace in namespaces or ("",)
            for kind in (JOBS, PODS)
        ]
        listing, told = self._admissions.listing, self._admissions.workload_event
        self._queue_watches = [
            ChildWatch(api, WORKLOADS, namespace, told, selector="", begin=listing)
            for namespace in (namespaces or ("",) if config.kueue.enabled else ())
        ]
        self._resync = Resync(api, self._cache, namespaces, self._queue.add, self._gone, self._health)
        self._sweeper = RunSweeper(mlflow, self._keeper, api, self._cache, clock, cluster, namespaces)

    def job_event(self, document: Mapping[str, Any], *, deleted: bool, listed: bool = False) -> None:
        """A FineTuneJob appeared, changed or was deleted; `listed`: told by a list, not by the watch after it."""
        metadata = document["metadata"]
        self._saw(FINE_TUNE_JOBS, metadata, listed)
        if deleted:
            self._gone(metadata["uid"])
            self._cache.note_deleted(metadata["uid"])
        elif key := self._cache.put_job(document):
            self._queue.add(key)

    def child_event(self, kind: Kind, document: Mapping[str, Any], *, deleted: bool, listed: bool = False) -> None:
        """A Job or pod of a stage appeared, changed or was deleted; `listed` as above."""
        self._saw(kind, document["metadata"], listed)
        if deleted:
            self._health.forgot(document["metadata"]["uid"])
        if key := self._cache.put_child(document, gone=deleted):
            self._queue.add(key)

    def check_health(self) -> None:
        """Raises UnhealthyError when the operator lives but does not work."""
        self._health.check(len(self._queue))

    def _saw(self, kind: Kind, metadata: Mapping[str, Any], listed: bool) -> None:
        now = self._last_events[kind.plural] = self._clock.now()
        self._health.saw(metadata)
        if listed and self._gaps.listed(kind.plural, now):
            self._resync_soon.set()

    def state(self) -> OperatorState:
        """What the operator has to do and how fresh its knowledge is, for the metrics."""
        now = self._clock.now()
        polled = self._progress.polled
        return OperatorState(
            jobs=self._cache.states(),
            queue_depth=len(self._queue),
            queue_age=self._queue.oldest_seconds(),
            watch_ages={resource: (now - moment).total_seconds() for resource, moment in self._last_events.items()},
            poll_age=(now - polled.at).total_seconds(),
            poll_seconds=polled.seconds,
            tasks=len(asyncio.all_tasks()),
            running=running((job for _, job in self._cache.jobs()), now),
        )

    async def run(self) -> None:
        """Work until cancelled. The first lists come before the first decision: nothing is decided in the dark."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for watch in self._watches:
                    tasks.create_task(for_ever("watch", watch.run), name="watch")
                await self._first_list()
                for watch in self._watches:
                    await watch.listed.wait()
                self._health.resynced()
                for number in range(self._config.workers):
                    tasks.create_task(self._work(), name=f"worker-{number}")
                for name, loop in self._loops():
                    tasks.create_task(for_ever(name, loop), name=name)
        finally:
            self._queue.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_EVENTS_SECONDS):
                    await self._events.drain()
            await self._keeper.close()
            await self._mlflow.close()

    def _loops(self) -> Iterator[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """What goes on beside the workers."""
        yield "progress", self._progress.run
        yield "progress-news", self._progress.tell_for_ever
        yield "events", self._events.run
        yield "resync", self._resync_for_ever
        yield "sweep", self._sweep_for_ever
        for watch in self._queue_watches:
            yield "watch of queues", watch.run

    async def _first_list(self) -> None:
        while True:
            try:
                await self._resync.first()
            except KubeError as error:
                _log.warning("first list: %s", error)
                await asyncio.sleep(_FIRST_RETRY_SECONDS)
            else:
                return

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._health.began(key)
            began = monotonic()
            try:
                with logs.about(*key):
                    result = await self._visit_and_judge(key)
            finally:
                self._health.ended(key)
            self._metrics.reconciled(monotonic() - began, result)

    async def _visit_and_judge(self, key: Key) -> str:
        """done, retry or error."""
        try:
            async with asyncio.timeout(_VISIT_SECONDS):
                await apart(self._visit(key))
        except KubeError as error:
            delay = self._queue.retry(key)
            _log.warning("%s; again in %.1f s", error, delay)
            return "retry"
        except Exception:
            delay = self._queue.retry(key)
            _log.exception("unexpected; again in %.1f s", delay)
            return "error"
        self._queue.done(key)
        return "done"

    async def _visit(self, key: Key) -> None:
        world = await self._observer.observe(key)
        if world is None:
            return
        if latest := world.job.status.latest:
            logs.about_attempt(latest.name.lower(), latest.attempt)
        try:
            plan = await self._carry_out(key, world, self._clock.now())
        except JobGoneError:
            # the watch may have missed it: without this its children would be made again until the second resync
            self._gone(world.job.metadata.uid)
            return
        if plan.requeue_seconds is not None:
            self._queue.add_after(key, plan.requeue_seconds)

    async def _carry_out(self, key: Key, world: Snapshot, now: datetime) -> Plan:
        plan = reconcile(world, now)
        try:
            await self._executor.execute(key, world.job, plan, now)
        except BlockedError as error:
            plan = reconcile(replace(world, blocked=error.blocked), now)
            await self._executor.execute(key, world.job, plan, now)
        return plan

    async def _resync_for_ever(self) -> None:
        pause = self._config.resync_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._resync_soon.wait()
            self._resync_soon.clear()
            try:
                missing = await self._resync.resync()
            except KubeError as error:
                _log.warning("resync: %s", error)
            else:
                self._health.resynced()
                pause = min(_SUSPICION_SECONDS, self._config.resync_seconds) if missing else self._config.resync_seconds

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweeper.sweep()
            except TrackingError as error:
                _log.warning("sweep of MLflow runs: %s", error)
            await asyncio.sleep(self._config.resync_seconds)

    def _tell_uid(self, uid: str) -> None:
        """MLflow answered. The run of a job that has ended or gone meanwhile is closed: nobody else does it soon."""
        if key := self._cache.key_of(uid):
            self._queue.add(key)
        outcome, opened = self._cache.outcome(uid), self._keeper.answer(uid)
        if outcome is None:
            self._keeper.forget(uid)
        if not isinstance(opened, RunOpened):
            return
        if outcome is None:
            self._keeper.end(RunEnd(opened.run_id, RunStatus.KILLED, self._now_ms()))
        elif outcome.ended and not outcome.run_id:
            self._keeper.end(RunEnd("", run_status(outcome.succeeded), self._now_ms(), uid))

    def _gone(self, uid: str) -> None:
        """A job was deleted: its run is closed, unless it had ended before."""
        self._health.forgot(uid)
        opened = self._keeper.answer(uid)
        self._keeper.forget(uid)
        job = self._cache.drop_job(uid)
        if job is None or job.status.terminal:
            return
        if run_id := job.status.run_id or (opened.run_id if isinstance(opened, RunOpened) else ""):
            self._keeper.end(RunEnd(run_id, RunStatus.KILLED, self._now_ms(), usage=job.status.usage))

    def _now_ms(self) -> int:
        return round(self._clock.now().timestamp() * 1000)
