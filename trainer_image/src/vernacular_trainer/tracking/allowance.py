"""How often one process may ask the tracking server: hundreds of jobs share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

REQUESTS_PER_MINUTE = 4


class Allowance:
    """A bucket of requests for all threads of a process: so many at once, so that a short job is seen early, and
    `per_minute` over any longer time.
    """

    def __init__(self, per_minute: float = REQUESTS_PER_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._most = per_minute
        self._clock = clock
        self._left = per_minute
        self._mark = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether a request may be made now; if so, it is counted."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._mark) * self._rate)
            self._mark = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
