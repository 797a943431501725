"""Serves the metrics over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from vernacular_operator.telemetry.metrics import CONTENT_TYPE, Metrics


@asynccontextmanager
async def serving(metrics: Metrics, port: int | None) -> AsyncIterator[None]:
    """`/metrics` on this port of all addresses, as long as the context lasts; None serves nothing.

    Raises OSError when the port is taken.
    """
    if port is None:
        yield
        return

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
