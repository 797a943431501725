"""A request to stop that waits until all ranks can follow it together."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether this process was asked to stop since training began."""

    def __init__(self) -> None:
        self.requested = False

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Take SIGTERM as a note instead of an end, from now on.

        Before that there is nothing to save and the worker's own handler ends the process at once.
        """
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
