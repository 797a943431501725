"""A proxy before a real MLflow server: it hangs, answers late, fails, or breaks off after the server has acted."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum

import aiohttp
from aiohttp import web

from support.threaded_server import ThreadedServer

WAIT_SECONDS = 60.0
SLOW_SECONDS = 2.0
_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "content-encoding"})


class Trouble(StrEnum):
    """What becomes of a request."""

    NONE = "None"
    # the server never hears of it
    HANGS = "Hangs"
    FAILS = "Fails"
    # the server does what it was told, and the client never hears of it
    BREAKS_OFF = "BreaksOff"
    # the server does what it was told and is said to have failed
    FAILS_AFTER = "FailsAfter"
    SLOW = "Slow"


class MlflowProxy(ThreadedServer):
    """For as long as the context lasts. `trouble` may be set at any moment; requests are counted by what they met."""

    def __init__(self, upstream: str) -> None:
        super().__init__("mlflow-proxy")
        self.trouble = Trouble.NONE
        self.met: Counter[Trouble] = Counter()
        self._upstream = upstream
        self._changed = threading.Condition()

    @property
    def requests(self) -> int:
        return self.met.total()

    def wait_for(self, condition: Callable[[Counter[Trouble]], bool]) -> None:
        """Wait until enough requests have met what they shall meet."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.met), WAIT_SECONDS), self.met

    @asynccontextmanager
    async def application(self) -> AsyncIterator[web.Application]:
        async with aiohttp.ClientSession() as session:
            self._session = session
            application = web.Application(client_max_size=1 << 28)
            application.router.add_route("*", "/{path:.*}", self._handle)
            yield application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        trouble = self.trouble
        body = await request.read()
        if trouble is Trouble.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        heard = trouble not in (Trouble.HANGS, Trouble.FAILS)
        answer = await self._forward(request, body) if heard else web.Response()
        with self._changed:
            self.met[trouble] += 1
            self._changed.notify_all()
        if trouble is Trouble.HANGS:
            await asyncio.sleep(WAIT_SECONDS)
        if trouble is Trouble.BREAKS_OFF and request.transport:
            request.transport.abort()
        if trouble in (Trouble.FAILS, Trouble.FAILS_AFTER):
            return web.json_response({"error_code": "INTERNAL_ERROR", "message": "injected"}, status=500)
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"{self._upstream}{request.path_qs}"
        try:
            async with self._session.request(request.method, url, data=body, headers=headers) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:
            return web.Response(status=502)
