"""Whether the operator works, not merely lives: own writes come back by the watch, no key waits for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular_operator.runtime.cache import Key
from vernacular_operator.runtime.clock import Clock

_PATIENCE = timedelta(seconds=120)


class UnhealthyError(Exception):
    """The operator does not work; the text says why."""


class Health:
    """Notes of what should happen soon; `check` raises when it did not."""

    def __init__(self, clock: Clock, resync_seconds: float) -> None:
        self._clock = clock
        self._resync = timedelta(seconds=3 * resync_seconds) + _PATIENCE
        self._resynced = clock.now()
        self._written: dict[Key, tuple[int, datetime]] = {}
        self._seen: dict[Key, int] = {}
        self._visits: dict[Key, datetime] = {}
        self._backlog_since: datetime | None = None

    def wrote(self, key: Key, version: int) -> None:
        """The status of a job was written; the watch will tell of this version or a newer one."""
        if self._seen.get(key, 0) < version:
            since = self._written.get(key, (0, self._clock.now()))[1]
            self._written[key] = (version, since)

    def saw(self, key: Key, version: int) -> None:
        """The watch told of a job."""
        self._seen[key] = version
        if key in self._written and version >= self._written[key][0]:
            del self._written[key]

    def forgot(self, key: Key) -> None:
        """The job is gone."""
        self._written.pop(key, None)
        self._seen.pop(key, None)

    def began(self, key: Key) -> None:
        """A worker took up a key."""
        self._visits[key] = self._clock.now()
        self._backlog_since = None

    def ended(self, key: Key) -> None:
        """A worker is done with a key."""
        self._visits.pop(key, None)

    def resynced(self) -> None:
        """A resync went through."""
        self._resynced = self._clock.now()

    def check(self, waiting: int) -> None:
        """Raises UnhealthyError. `waiting` is the number of keys that wait for a worker."""
        now = self._clock.now()
        if now - self._resynced > self._resync:
            raise UnhealthyError(f"no resync went through since {self._resynced:%H:%M:%S}")
        for key, (version, since) in self._written.items():
            if now - since > _PATIENCE:
                raise UnhealthyError(f"the watch has not shown version {version} of {key} since {since:%H:%M:%S}")
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
