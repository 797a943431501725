"""MLflow for property tests: the operator's client without a network, before a server that may be away or slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from support.fake_mlflow import FakeMlflow
from vernacular_operator.tracking.errors import TrackingUnavailableError
from vernacular_operator.tracking.mlflow import Credentials, MlflowClient, _decode

TIMEOUT_SECONDS = 30.0


class Tracking:
    """The server's side. `seconds` is how long a call takes; it takes place at its end, heard or not.

    `late` gives calls that take longer than the others, by path.
    """

    def __init__(self) -> None:
        self.server = FakeMlflow()
        self.up = True
        self.seconds = 0.01
        self.late: dict[str, float] = {}

    async def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Carry out a call."""
        await asyncio.sleep(self.late.get(path, self.seconds))
        return self.server.answer(path, dict(body))


class SimulatedMlflow(MlflowClient):
    """The operator's side. `alive` is awaited around each call: a dead operator stops there, the server goes on."""

    def __init__(self, tracking: Tracking, alive: Callable[[], Awaitable[None]]) -> None:
        super().__init__("http://mlflow", Credentials())
        self._tracking = tracking
        self._alive = alive
        self._calls: set[asyncio.Task[tuple[int, dict[str, Any]]]] = set()

    async def _call(self, method: str, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        await self._alive()
        if not self._tracking.up:
            raise TrackingUnavailableError(f"{path}: connection refused")
        call = asyncio.create_task(self._tracking.answer(path, content))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            status, document = await asyncio.wait_for(asyncio.shield(call), TIMEOUT_SECONDS)
        except TimeoutError:
            raise TrackingUnavailableError(f"{path}: TimeoutError") from None
        await self._alive()
        return _decode(path, status, json.dumps(document))
