"""Closes MLflow runs that are open although their job has ended or is gone: after an outage or a restart.

A run that MLflow opened after the operator had stopped waiting, and had opened another, is removed.
"""

from __future__ import annotations

from collections.abc import Sequence

from vernacular_operator.domain.plan import RunEnd
from vernacular_operator.domain.policies.ending import run_status
from vernacular_operator.domain.policies.tracking import TAG_PREFIX
from vernacular_operator.kube.api import KubeApi
from vernacular_operator.kube.errors import NotFoundError
from vernacular_operator.runtime.cache import Cache
from vernacular_operator.runtime.clock import Clock
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS
from vernacular_operator.tracking.keeper import RunKeeper
from vernacular_operator.tracking.mlflow import MlflowClient, Run, RunStatus


class RunSweeper:
    """`cluster` tells the runs of this cluster from those of others; without it only runs of known jobs are touched."""

    def __init__(
        self,
        client: MlflowClient,
        keeper: RunKeeper,
        api: KubeApi,
        cache: Cache,
        clock: Clock,
        cluster: str,
        namespaces: Sequence[str],
    ) -> None:
        self._client = client
        self._keeper = keeper
        self._api = api
        self._cache = cache
        self._clock = clock
        self._cluster = cluster
        self._namespaces = frozenset(namespaces)

    async def sweep(self) -> None:
        """Raises TrackingError or KubeError when a call fails; the next sweep finds the rest."""
        experiments = await self._client.experiments()
        if not experiments:
            return
        cluster_tag = f"tags.`{TAG_PREFIX}cluster`"
        condition = f"attributes.status = 'RUNNING' AND {cluster_tag} = '{self._cluster}'"
        for run in await self._client.search_runs(experiments, condition):
            if self._is_double(run):
                self._keeper.discard(run.run_id)
            elif status := await self._due(run):
                outcome = self._cache.outcome(run.tags.get(f"{TAG_PREFIX}uid", ""))
                end_ms = round(self._clock.now().timestamp() * 1000)
                self._keeper.end(RunEnd(run.run_id, status, end_ms, usage=outcome.usage if outcome else None))

    def _is_double(self, run: Run) -> bool:
        """Whether the job's status names another run: that one is handed to the stages, and never changes."""
        outcome = self._cache.outcome(run.tags.get(f"{TAG_PREFIX}uid", ""))
        return outcome is not None and outcome.run_id not in ("", run.run_id)

    async def _due(self, run: Run) -> RunStatus | None:
        """The status that an open run should have; None when it is rightly open, or not ours."""
        uid, namespace = run.tags.get(f"{TAG_PREFIX}uid", ""), run.tags.get(f"{TAG_PREFIX}namespace", "")
        if self._namespaces and namespace not in self._namespaces:
            return None
        if outcome := self._cache.outcome(uid):
            return RunStatus(run_status(outcome.succeeded)) if outcome.ended else None
        if not self._cluster or await self._exists(namespace, run.tags.get(f"{TAG_PREFIX}name", ""), uid):
            return None
        return RunStatus.KILLED

    async def _exists(self, namespace: str, name: str, uid: str) -> bool:
        try:
            found = await self._api.get(FINE_TUNE_JOBS, namespace, name)
        except NotFoundError:
            return False
        return bool(found["metadata"]["uid"] == uid)
