"""Compares the cache with the API server now and then: what vanished while a watch was broken is never reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vernacular_operator.kube.api import JOBS, PODS, Kind, KubeApi, Object
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.children import SELECTOR
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS
from vernacular_operator.runtime.health import Health


class Resync:
    """`tell` is called with the key of every unsettled job, `gone` with the uid of every job that vanished unseen."""

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        namespaces: Sequence[str],
        tell: Callable[[Key], None],
        gone: Callable[[str], None],
        health: Health,
    ) -> None:
        self._api = api
        self._cache = cache
        self._namespaces = tuple(namespaces) or ("",)
        self._tell = tell
        self._gone = gone
        self._health = health
        self._suspects: frozenset[str] = frozenset()

    async def first(self) -> None:
        """List the FineTuneJobs, and no children: their watches list them. Raises KubeError when a call fails."""
        for namespace in self._namespaces:
            async for document in self._api.list(FINE_TUNE_JOBS, namespace):
                self._take(FINE_TUNE_JOBS, document)
        self._tell_unsettled()

    async def resync(self) -> bool:
        """List everything once; True when something is missing and should be looked for again soon.

        What is missing counts as gone the second time only: its last words may still be on their way by the watch.
        Raises KubeError when a call fails.
        """
        missing: set[str] = set()
        for namespace in self._namespaces:
            missing |= await self._namespace(namespace)
        self._suspects = frozenset(missing)
        self._cache.drop_orphans()
        self._tell_unsettled()
        return bool(missing)

    def _tell_unsettled(self) -> None:
        for key, _ in self._cache.jobs():
            self._tell(key)

    async def _namespace(self, namespace: str) -> set[str]:
        # only what was known before the list can have vanished: newer objects may have come by the watch meanwhile
        known, expected = self._cache.known(namespace), self._health.expected(namespace)
        listed: set[str] = set()
        async for document in self._api.list(FINE_TUNE_JOBS, namespace):
            listed.add(self._take(FINE_TUNE_JOBS, document))
        for kind in (JOBS, PODS):
            async for document in self._api.list(kind, namespace, SELECTOR):
                listed.add(self._take(kind, document))
        # expected, and not kept: a child that came and went with its job while its watch was broken
        missing = (known.jobs.keys() | known.children.keys() | expected) - listed
        for uid in missing & self._suspects:
            self._health.forgot(uid)
            if uid in known.children:
                self._cache.child_gone(known.children[uid], uid)
            elif uid in known.jobs:
                self._gone(uid)
        return missing - self._suspects

    def _take(self, kind: Kind, document: Object) -> str:
        """The uid of a listed object; what the watch did not show yet, it must show soon."""
        metadata, cache = document["metadata"], self._cache
        known = cache.version_of(metadata)
        # the version of a listed item is its own, so an older one never replaces what the watch told
        if kind is FINE_TUNE_JOBS:
            cache.put_job(document)
        else:
            cache.put_child(document)
        # of what is not kept nobody could tell later that the watch has shown it
        if cache.version_of(metadata):
            self._health.expect(kind.plural, metadata, known)
        return str(metadata["uid"])
