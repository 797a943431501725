"""An aiohttp application on loopback in a thread of its own, beside tests that block or run a loop themselves."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Self

from aiohttp import web


class ThreadedServer:
    """Serves for as long as the context lasts; subclasses say what. `port` is known once the context is entered."""

    port: int

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def uri(self) -> str:
        """The address without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def application(self) -> AbstractAsyncContextManager[web.Application]:
        """What is served, and what it needs in the server's loop."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._started.result(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self.application() as application:
                runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
                self._started.set_result(runner.addresses[0][1])
                await self._stop.wait()
                await runner.cleanup()
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
