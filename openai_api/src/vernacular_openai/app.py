"""The web application: routes, who calls about which namespace, and errors in the form that SDKs read."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from vernacular_openai import file_calls
from vernacular_openai.context import Call, Services
from vernacular_openai.errors import ApiError
from vernacular_openai.operations import OPERATIONS, Operation, openapi

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
_BODY_BYTES = 2**20


def application(services: Services) -> web.Application:
    """All routes."""
    app = web.Application(middlewares=[_errors], client_max_size=_BODY_BYTES)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.route, _handler(operation, services))
    document = openapi()

    async def describe(_: web.Request) -> web.Response:
        return web.json_response(document)

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def download(request: web.Request) -> web.StreamResponse:
        return await file_calls.download(services, request)

    app.router.add_get("/openapi.json", describe)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/download/{file_id}/{name}", download)
    return app


def _handler(operation: Operation, services: Services) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = services.caller(request)
        namespace = await caller.namespace(request.headers.get("OpenAI-Project", ""))
        answer: Any = await operation.handle(Call(request, services, caller, namespace))
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    return handle


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    headers = {}
    try:
        return await handler(request)
    except ApiError as error:
        found = error
    except web.HTTPRequestEntityTooLarge:
        found = ApiError(413, f"The body is larger than {_BODY_BYTES} bytes.", code="body_too_large")
    except web.HTTPMethodNotAllowed as refusal:
        headers = {"Allow": refusal.headers["Allow"]}
        found = ApiError(405, f"{request.method} is not possible here.", code="method_not_allowed")
    except web.HTTPNotFound:
        message = "There is no such call: this service has files, fine-tuning jobs and models, see /openapi.json."
        found = ApiError(404, message, code="unknown_url")
    except Exception as error:
        # its text may hold what the caller sent
        places = " <- ".join(
            f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[::-1]
        )
        _log.error("%s %s: %s in %s", request.method, request.path, type(error).__name__, places)
        found = ApiError(500, "The service failed; its log says where.", code="internal_error")
    if found.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(found.body, status=found.status, headers=headers)
