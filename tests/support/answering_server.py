"""A server that answers as a test says, where no real one would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from support.threaded_server import ThreadedServer

_LARGEST_BODY = 16 * 1024**2


class AnsweringServer(ThreadedServer):
    """Subclasses answer every request."""

    def __init__(self) -> None:
        super().__init__("answering server")

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """Status and text; `path` has the query in it."""
        raise NotImplementedError

    @asynccontextmanager
    async def application(self) -> AsyncIterator[web.Application]:
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        yield application

    async def _handle(self, request: web.Request) -> web.Response:
        status, text = self.answer(request.method, request.path_qs, await request.read())
        return web.Response(status=status, text=text)
