"""Closes MLflow runs that are open although their job has ended or is gone: after an outage or a restart.

A run that MLflow opened after the operator had stopped waiting, and had opened another, is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from vernacular.api.status import UsageStatus
from vernacular_operator.domain.plan import RunEnd
from vernacular_operator.domain.policies.ending import run_status
from vernacular_operator.domain.policies.tracking import TAG_PREFIX
from vernacular_operator.kube.api import KubeApi, Object
from vernacular_operator.kube.errors import KubeError, NotFoundError
from vernacular_operator.runtime.cache import Cache
from vernacular_operator.runtime.clock import Clock
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS
from vernacular_operator.tracking.keeper import RunKeeper
from vernacular_operator.tracking.mlflow import MlflowClient, Run, RunStatus

_log = logging.getLogger(__name__)


class _Owner(NamedTuple):
    """Whose run it is, by its tags."""

    namespace: str
    name: str
    uid: str


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
        """Raises TrackingError when a call fails; the next sweep finds the rest."""
        experiments = await self._client.experiments()
        if not experiments:
            return
        cluster_tag = f"tags.`{TAG_PREFIX}cluster`"
        condition = f"attributes.status = 'RUNNING' AND {cluster_tag} = '{self._cluster}'"
        for run in await self._client.search_runs(experiments, condition):
            owner = _owner(run)
            if owner is None or (self._namespaces and owner.namespace not in self._namespaces):
                continue
            try:
                await self._settle(run.run_id, owner)
            except KubeError as error:
                _log.warning("run %s of %s/%s is looked at by the next sweep: %s", run.run_id, *owner[:2], error)

    async def _settle(self, run_id: str, owner: _Owner) -> None:
        """Close an open run, or remove it, unless it is rightly open."""
        end_ms = round(self._clock.now().timestamp() * 1000)
        outcome = self._cache.outcome(owner.uid)
        if outcome is None:
            if self._cluster and await self._stored(owner) is None:
                self._keeper.end(RunEnd(run_id, RunStatus.KILLED, end_ms))
        elif outcome.run_id not in ("", run_id):
            # the other one was handed to the stages, and never changes
            self._keeper.discard(run_id)
        elif outcome.ended:
            usage = _usage(await self._stored(owner))
            self._keeper.end(RunEnd(outcome.run_id, run_status(outcome.succeeded), end_ms, owner.uid, usage))

    async def _stored(self, owner: _Owner) -> Object | None:
        """The job as it is stored; None when it is gone, whatever has its name now."""
        try:
            found = await self._api.get(FINE_TUNE_JOBS, owner.namespace, owner.name)
        except NotFoundError:
            return None
        return found if found["metadata"]["uid"] == owner.uid else None


def _owner(run: Run) -> _Owner | None:
    """None when a tag is missing: nobody can tell whose run it is."""
    owner = _Owner(*(run.tags.get(f"{TAG_PREFIX}{name}", "") for name in _Owner._fields))
    return owner if all(owner) else None


def _usage(job: Object | None) -> UsageStatus | None:
    """Asked for when it is needed: a cache of thousands of finished jobs does not hold it."""
    usage = (job or {}).get("status", {}).get("usage")
    return UsageStatus.model_validate(usage) if usage else None
