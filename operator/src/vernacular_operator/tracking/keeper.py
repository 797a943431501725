"""Keeps the MLflow runs of jobs: opens each once, closes it truthfully, without ever holding up a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from vernacular_operator.domain.cost import recorded
from vernacular_operator.domain.plan import RunAttempt, RunEnd, RunRequest
from vernacular_operator.domain.policies.tracking import TAG_PREFIX
from vernacular_operator.domain.snapshot import RunClosed, RunOpened, TrackingProblem
from vernacular_operator.tracking.errors import (
    TrackingConflictError,
    TrackingDeniedError,
    TrackingError,
    TrackingNotFoundError,
    TrackingRefusedError,
)
from vernacular_operator.tracking.mlflow import MlflowClient, Run, RunStatus

_log = logging.getLogger(__name__)
CURRENCY_TAG = f"{TAG_PREFIX}currency"
_UID_TAG = f"{TAG_PREFIX}uid"
_AT_ONCE = 8
_ENDED = frozenset({RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED})

T = TypeVar("T")


class RunKeeper:
    """For one event loop. `tell` is called with a job's uid when the answer to its request is known.

    Nothing here is lost by a restart: a run is found again by its tag, and the sweep closes runs of jobs that ended
    while MLflow or the operator was away.
    """

    def __init__(self, client: MlflowClient, tell: Callable[[str], None]) -> None:
        self._client = client
        self._tell = tell
        self._known: dict[str, RunOpened | RunClosed | TrackingProblem | None] = {}
        self._experiments: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def answer(self, uid: str) -> RunOpened | RunClosed | TrackingProblem | None:
        """What is known of the job's run; None while nothing is."""
        return self._known.get(uid)

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._known.pop(uid, None)

    def open(self, request: RunRequest) -> None:
        """Find or open the run in the background, unless that is under way or done."""
        if not isinstance(self._known.get(request.uid), RunOpened):
            self._start(f"open {request.uid}", lambda: self._open(request))

    def end(self, end: RunEnd) -> None:
        """Close the run in the background; the sweep does it later when MLflow is away.

        A job that ended before its run was named has the one that MLflow knows; others are removed.
        """
        if end.uid:
            self._known.setdefault(end.uid, None)
        self._start(f"end {end.run_id or end.uid}", lambda: self._quietly(self._end(end)))

    def discard(self, run_id: str) -> None:
        """Remove a run that no job uses."""
        self._start(f"discard {run_id}", lambda: self._quietly(self._client.delete_run(run_id)))

    def note_attempt(self, attempt: RunAttempt) -> None:
        """Tell the run which attempt of training writes to it."""
        tag, value = f"{TAG_PREFIX}attempt", str(attempt.attempt)
        name = f"attempt {attempt.run_id} {value}"
        self._start(name, lambda: self._quietly(self._client.set_tag(attempt.run_id, tag, value)))

    async def close(self) -> None:
        """Wait a moment for what is under way, then stop."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=5)
        for task in self._tasks.values():
            task.cancel()

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a piece of work unless the same is under way."""
        if name in self._tasks:
            return
        task = asyncio.create_task(work(), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _end(self, end: RunEnd) -> None:
        if not end.run_id and self._is_opening(end.uid):
            # its answer says which run is to be closed
            return
        try:
            if run_id := end.run_id or await self._unnamed(end.uid):
                await self._note_usage(run_id, end)
                await self._client.update_run(run_id, RunStatus(end.status), end.end_ms)
        except (TrackingDeniedError, TrackingNotFoundError, TrackingRefusedError) as error:
            _log.warning("MLflow: run %s stays as it is: %s", end.run_id or f"of job {end.uid}", error)
        # a job that was forgotten meanwhile is not remembered again
        if end.uid in self._known:
            self._known[end.uid] = RunClosed()

    async def _note_usage(self, run_id: str, end: RunEnd) -> None:
        """Before the run is closed: the sweep finds one that is open, and tries again."""
        if end.usage is None or not (metrics := recorded(end.usage)):
            return
        tags = {CURRENCY_TAG: end.usage.currency} if end.usage.currency else {}
        try:
            await self._client.log_batch(run_id, metrics, tags, end.end_ms)
        except TrackingRefusedError as error:
            _log.warning("MLflow: run %s does not tell what its job used: %s", run_id, error)

    def _is_opening(self, uid: str) -> bool:
        return f"open {uid}" in self._tasks and not isinstance(self._known.get(uid), RunOpened)

    async def _unnamed(self, uid: str) -> str:
        """The run of a job whose status names none, "" when there is none. What MLflow opened beside it, after the
        operator had stopped waiting, is removed first: the sweep finds a run that stays open.
        """
        experiments = await self._client.experiments()
        found = await self._runs_of(uid, experiments) if experiments else []
        # one that was closed before is the one that people know
        ordered = sorted(found, key=lambda run: (run.status not in _ENDED, run.run_id))
        for run in ordered[1:]:
            await self._client.delete_run(run.run_id)
        return ordered[0].run_id if ordered else ""

    async def _runs_of(self, uid: str, experiments: Sequence[str]) -> list[Run]:
        return await self._client.search_runs(experiments, f"tags.`{_UID_TAG}` = '{uid}'")

    async def _open(self, request: RunRequest) -> None:
        before = self._known.get(request.uid)
        try:
            async with self._slots:
                known: RunOpened | TrackingProblem = await self._find_or_create(request)
        except TrackingDeniedError as error:
            known = TrackingProblem(str(error), denied=True)
        except TrackingError as error:
            known = TrackingProblem(str(error))
        self._known[request.uid] = known
        if known != before:
            self._tell(request.uid)

    async def _find_or_create(self, request: RunRequest) -> RunOpened:
        try:
            return await self._in_experiment(request, await self._experiment(request.experiment))
        except (TrackingNotFoundError, TrackingRefusedError):
            # deleted since it was asked for: another one is looked up, or created, the next time
            self._experiments.pop(request.experiment, None)
            raise

    async def _in_experiment(self, request: RunRequest, experiment: str) -> RunOpened:
        found = await self._runs_of(request.uid, [experiment])
        run = found[0] if found else None
        if run is None:
            run = await self._client.create_run(experiment, request.name, request.start_ms, request.tags)
        elif run.status in _ENDED:
            # a stage or a sweep closed it too early; the job still goes on
            await self._client.update_run(run.run_id, RunStatus.RUNNING, None)
        return RunOpened(experiment, run.run_id)

    async def _experiment(self, name: str) -> str:
        """Its id; asked for once, since every job of a namespace has the same one."""
        if name not in self._experiments:
            self._experiments[name] = await self._named_or_created(name)
        return self._experiments[name]

    async def _named_or_created(self, name: str) -> str:
        try:
            return await self._client.experiment_named(name)
        except TrackingNotFoundError:
            try:
                return await self._client.create_experiment(name)
            except TrackingConflictError:
                return await self._client.experiment_named(name)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._slots:
                await work
        except TrackingError as error:
            _log.warning("MLflow: %s; the next sweep tries again", error)
