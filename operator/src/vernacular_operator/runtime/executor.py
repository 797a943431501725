"""Carries out a plan: children first, then the status if it differs, events and MLflow only after that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vernacular.api import FailureCode, FineTuneJob, Reason
from vernacular.api.constants import GROUP, PLURAL, VERSION
from vernacular_operator.domain.plan import Plan, Reference
from vernacular_operator.domain.snapshot import Blocked
from vernacular_operator.kube.api import JOBS, KINDS_OF_CHILDREN, PODS, Kind, KubeApi, Object
from vernacular_operator.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    WebhookAwayError,
)
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.events import EventPoster
from vernacular_operator.runtime.health import Health
from vernacular_operator.runtime.patch import merge_patch
from vernacular_operator.telemetry.metrics import Metrics
from vernacular_operator.tracking.keeper import RunKeeper

_log = logging.getLogger(__name__)
FINE_TUNE_JOBS = Kind(GROUP, VERSION, PLURAL)
_DELETABLE = {"Job": JOBS, "Pod": PODS}


class BlockedError(Exception):
    """A child cannot be created until a person does something."""

    def __init__(self, blocked: Blocked) -> None:
        super().__init__(blocked.message)
        self.blocked = blocked


class JobGoneError(Exception):
    """The job does not exist any more, though nobody has told."""


class Executor:
    """Writes; decides nothing."""

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        keeper: RunKeeper,
        health: Health,
        metrics: Metrics,
        events: EventPoster,
    ) -> None:
        self._api = api
        self._cache = cache
        self._keeper = keeper
        self._health = health
        self._metrics = metrics
        self._events = events

    async def execute(self, key: Key, job: FineTuneJob, plan: Plan, now: datetime) -> None:
        """Raises BlockedError when a child cannot be created, JobGoneError, KubeError when it is to be tried again."""
        for reference in plan.delete:
            await self._delete(job, reference)
        for manifest in plan.create:
            await self._create(job, manifest)
        await self._write_status(key, job, plan)
        for event in plan.events:
            self._events.tell(job, event, now)
        if plan.open_run:
            self._keeper.open(plan.open_run)
        if plan.attempt:
            self._keeper.note_attempt(plan.attempt)
        if plan.end_run:
            self._keeper.end(plan.end_run)
        if plan.delete_job:
            await self._api.delete(FINE_TUNE_JOBS, *key, uid=job.metadata.uid)

    async def _delete(self, job: FineTuneJob, reference: Reference) -> None:
        kind = _DELETABLE[reference.kind]
        await self._api.delete(
            kind, job.metadata.namespace, reference.name, uid=reference.uid, grace_seconds=reference.grace_seconds
        )

    async def _create(self, job: FineTuneJob, manifest: Mapping[str, Any]) -> None:
        kind, namespace = KINDS_OF_CHILDREN[manifest["kind"]], job.metadata.namespace
        name = manifest["metadata"]["name"]
        try:
            stored = await self._api.create(kind, namespace, dict(manifest))
        except AlreadyExistsError:
            stored = await self._existing(job, manifest, kind)
        except (ForbiddenError, InvalidError, WebhookAwayError) as error:
            message = f"{manifest['kind']} {name} in namespace {namespace} cannot be created: {error}"
            raise BlockedError(Blocked(Reason.CREATION_REFUSED, message)) from None
        if kind is JOBS:
            self._expect(JOBS, stored)
            self._cache.put_child(stored)

    async def _existing(self, job: FineTuneJob, manifest: Mapping[str, Any], kind: Kind) -> Object:
        name, namespace = manifest["metadata"]["name"], job.metadata.namespace
        found = await self._api.get(kind, namespace, name)
        if found["metadata"].get("deletionTimestamp"):
            raise ConflictError(f"{manifest['kind']} {name} is being deleted")
        if not _is_ours(found, manifest, job.metadata.uid):
            message = f"{manifest['kind']} {name} in namespace {namespace} exists and does not belong to this job"
            raise BlockedError(Blocked(FailureCode.NAME_CONFLICT, message))
        return found

    async def _write_status(self, key: Key, job: FineTuneJob, plan: Plan) -> None:
        patch = merge_patch(job.status.to_dict(), plan.status.to_dict())
        if not patch:
            return
        # the version makes a decision on stale facts fail instead of overwriting newer ones
        body = {"metadata": {"resourceVersion": job.metadata.resource_version}, "status": patch}
        try:
            stored = await self._patched(key, body)
        except NotFoundError:
            raise JobGoneError from None
        self._expect(FINE_TUNE_JOBS, stored)
        self._cache.put_status(key, job, plan.status, stored["metadata"]["resourceVersion"])
        old, new = job.status, plan.status
        self._metrics.status_written(key.namespace, old, new)
        if (old.state, old.reason) != (new.state, new.reason):
            _log.info("%s, %s: %s", new.state, new.reason, new.message)

    async def _patched(self, key: Key, body: Object) -> Object:
        try:
            return await self._api.patch_status(FINE_TUNE_JOBS, *key, body)
        except ConflictError:
            newer = await self._api.get(FINE_TUNE_JOBS, *key)
            self._expect(FINE_TUNE_JOBS, newer)
            self._cache.put_job(newer)
            raise

    def _expect(self, kind: Kind, stored: Object) -> None:
        metadata = stored["metadata"]
        self._health.expect(kind.plural, metadata, self._cache.version_of(metadata))


def _is_ours(found: Object, manifest: Mapping[str, Any], uid: str) -> bool:
    """A retained workspace has no owner: there the label of the job says whose it is."""
    owners = found["metadata"].get("ownerReferences") or ()
    if any(owner.get("uid") == uid and owner.get("controller") for owner in owners):
        return True
    if manifest["metadata"].get("ownerReferences"):
        return False
    wanted = manifest["metadata"]["labels"].items()
    return not owners and wanted <= (found["metadata"].get("labels") or {}).items()
