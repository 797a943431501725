"""Whether the operator works, not merely lives: what the API server has comes by the watch, no key waits for ever."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from vernacular_operator.runtime.cache import Key
from vernacular_operator.runtime.clock import Clock

_PATIENCE = timedelta(seconds=120)
# answers to requests come later than the watch by seconds, not by thousands of deletions
_GONE_REMEMBERED = 10_000


class UnhealthyError(Exception):
    """The operator does not work; the text says why."""


class _Expected(NamedTuple):
    resource: str
    name: str
    version: int
    since: datetime


class Health:
    """Notes of what should happen soon; `check` raises when it did not.

    A watch is fresh when it shows what is known to exist: what the operator wrote itself, and what a list showed. Mere
    silence proves nothing, since nothing may have happened.
    """

    def __init__(self, clock: Clock, resync_seconds: float) -> None:
        self._clock = clock
        self._resync = timedelta(seconds=3 * resync_seconds) + _PATIENCE
        self._resynced: datetime | None = None
        self._expected: dict[str, _Expected] = {}
        self._gone: dict[str, None] = {}  # in the order in which they went
        self._visits: dict[Key, datetime] = {}
        self._backlog_since: datetime | None = None

    def expect(self, resource: str, metadata: Mapping[str, Any], known: int) -> None:
        """This version of an object exists: its watch will tell of it, or of a newer one.

        `known` is the newest version of it that is known already, by the watch or because it is expected. Nothing is
        expected of an object that the watch has told is gone: the answer to a write may come after its last words.
        """
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if known < version and uid not in self._gone:
            since = self._expected[uid].since if uid in self._expected else self._clock.now()
            name = f"{metadata['namespace']}/{metadata['name']}"
            self._expected[uid] = _Expected(resource, name, version, since)

    def saw(self, metadata: Mapping[str, Any]) -> None:
        """A watch told of an object."""
        if (expected := self._expected.get(metadata["uid"])) is None:
            return
        if int(metadata["resourceVersion"]) >= expected.version:
            del self._expected[metadata["uid"]]
        else:
            # late, but it moves
            self._expected[metadata["uid"]] = expected._replace(since=self._clock.now())

    def forgot(self, uid: str) -> None:
        """The object is gone."""
        self._expected.pop(uid, None)
        self._gone[uid] = None
        if len(self._gone) > _GONE_REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def expected(self, namespace: str) -> frozenset[str]:
        """Uids of objects in a namespace ("" for all) that a watch shall tell of."""
        prefix = f"{namespace}/" if namespace else ""
        return frozenset(uid for uid, item in self._expected.items() if item.name.startswith(prefix))

    def began(self, key: Key) -> None:
        """A worker took up a key."""
        self._visits[key] = self._clock.now()
        self._backlog_since = None

    def ended(self, key: Key) -> None:
        """A worker is done with a key."""
        self._visits.pop(key, None)

    def resynced(self) -> None:
        """The first lists, or a resync, went through."""
        self._resynced = self._clock.now()

    def check(self, waiting: int) -> None:
        """Raises UnhealthyError. `waiting` is the number of keys that wait for a worker."""
        now = self._clock.now()
        if self._resynced is None:
            raise UnhealthyError("the first lists of jobs, Jobs and pods have not gone through yet")
        if now - self._resynced > self._resync:
            raise UnhealthyError(f"no resync went through since {self._resynced:%H:%M:%S}")
        for resource, name, version, since in self._expected.values():
            if now - since > _PATIENCE:
                raise UnhealthyError(
                    f"the watch of {resource} has not shown version {version} of {name} since {since:%H:%M:%S}"
                )
        for key, since in self._visits.items():
            if now - since > _PATIENCE:
                raise UnhealthyError(f"a worker has been at {key} since {since:%H:%M:%S}")
        self._check_backlog(waiting, now)

    def _check_backlog(self, waiting: int, now: datetime) -> None:
        if not waiting:
            self._backlog_since = None
        elif self._backlog_since is None:
            self._backlog_since = now
        elif now - self._backlog_since > _PATIENCE:
            raise UnhealthyError(f"{waiting} keys wait since {self._backlog_since:%H:%M:%S} and no worker takes one")
