"""Notices that a watch began anew: what was deleted while it was broken is never reported and has to be looked for."""

from __future__ import annotations

from datetime import datetime, timedelta

# objects of one list come close together; a longer pause within one costs a needless look, no more
_SAME_LIST = timedelta(seconds=10)


class GapDetector:
    """Told of each object that the watch layer listed. `started` is when its first lists began.

    A list without any object tells nothing; then the regular resync finds what is missing.
    """

    def __init__(self, started: datetime) -> None:
        self._started = started
        self._last: dict[str, datetime] = {}

    def listed(self, resource: str, now: datetime) -> bool:
        """Whether this object is the first of a new list, after the one at the start."""
        last = self._last.get(resource, self._started)
        self._last[resource] = now
        return now - last > _SAME_LIST
