"""A proxy before the API server that injects faults, records each, and tells of every write.

It authenticates itself at the server, so that a kubeconfig without any credential is all that a client behind it needs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import struct
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import yaml
from aiohttp import web

from support.apiserver import ApiServer
from support.faults import WRITES, Choice, Fault, FaultPlan, Verb
from support.threaded_server import ThreadedServer

_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "accept-encoding"})
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_REMEMBERED = 4
# a server ends watches in order, too, though not so often; a fault is chosen for each one that is opened
_WATCH_SECONDS = 15
_OLDEST_SECONDS = 20.0
_VERBS = {"POST": Verb.CREATE, "PATCH": Verb.PATCH, "PUT": Verb.PATCH, "DELETE": Verb.DELETE}
_STATUS: Mapping[Fault, tuple[int, str]] = {
    Fault.CONFLICT: (409, "Conflict"),
    Fault.INVALID: (422, "Invalid"),
    Fault.TOO_MANY: (429, "TooManyRequests"),
    Fault.ERROR: (500, "InternalError"),
    Fault.ERROR_AFTER_WRITE: (500, "InternalError"),
    Fault.GONE_LIST: (410, "Expired"),
}


@dataclass(frozen=True)
class Injection:
    """One fault as it happened; `moment` in seconds of the monotonic clock."""

    moment: float
    fault: Fault
    verb: Verb
    path: str


@dataclass(frozen=True)
class Write:
    """A write on its way: called once before it reaches the server (`done` False) and once after."""

    verb: Verb
    path: str
    done: bool


class ChaosProxy(ThreadedServer):
    """For as long as the context lasts, in a thread of its own. `page_size` cuts lists into pages of this size.

    `on_write` is called with every write, in the proxy's thread; returning False before a write drops it unseen.
    """

    def __init__(self, server: ApiServer, plan: FaultPlan, *, page_size: int = 20) -> None:
        self._authority = trustme.CA()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("127.0.0.1").configure_cert(tls)
        super().__init__("chaos-proxy", tls)
        self.injections: list[Injection] = []
        self.requests: Counter[Verb] = Counter()
        self.on_write: Callable[[Write], bool] | None = None
        self.calm = False
        self._server = server
        self._plan = plan
        self._page_size = page_size
        self._answers: dict[str, deque[tuple[float, bytes]]] = {}

    @property
    def injected(self) -> Counter[Fault]:
        """How often each kind of fault really happened."""
        return Counter(item.fault for item in list(self.injections))

    @property
    def writes(self) -> int:
        """How many writes were asked for."""
        return sum(self.requests[verb] for verb in WRITES)

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig whose server is this proxy."""
        authority = base64.b64encode(self._authority.cert_pem.bytes()).decode()
        cluster = {"server": self.uri, "certificate-authority-data": authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    @asynccontextmanager
    async def application(self) -> AsyncIterator[web.Application]:
        connector = aiohttp.TCPConnector(ssl=self._server.tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self._session = session
            application = web.Application(client_max_size=16 << 20)
            application.router.add_route("*", "/{path:.*}", self._handle)
            yield application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        verb, resource = classify(request.method, request.path, request.query)
        self.requests[verb] += 1
        choice = None if self.calm else self._plan.choose(verb, resource)
        try:
            if verb is Verb.WATCH:
                return await self._watch(request, choice)
            return await self._call(request, verb, choice)
        except (aiohttp.ClientError, OSError) as error:
            return _refusal(502, "BadGateway", str(error))

    async def _call(self, request: web.Request, verb: Verb, choice: Choice | None) -> web.StreamResponse:
        fault = choice.fault if choice else None
        # a continued list is the only one that a server calls expired
        if fault is Fault.GONE_LIST and "continue" not in request.query:
            fault = None
        if fault is Fault.LATENCY and choice:
            self._note(fault, verb, request)
            await asyncio.sleep(choice.seconds)
        elif fault is Fault.RESET:
            self._note(fault, verb, request)
            return _reset(request)
        elif fault in _STATUS and fault is not Fault.ERROR_AFTER_WRITE:
            self._note(fault, verb, request)
            return _refusal(*_STATUS[fault], "injected")
        return await self._forward(request, verb, fault)

    async def _forward(self, request: web.Request, verb: Verb, fault: Fault | None) -> web.StreamResponse:
        if verb in WRITES and self.on_write and not self.on_write(Write(verb, request.path, done=False)):
            return _reset(request)
        async with self._upstream(request, await request.read()) as answer:
            body, status, kind = await answer.read(), answer.status, answer.content_type
        if verb in WRITES and self.on_write:
            self.on_write(Write(verb, request.path, done=True))
        if fault is Fault.RESET_AFTER_WRITE:
            self._note(fault, verb, request)
            return _reset(request)
        if fault is Fault.ERROR_AFTER_WRITE:
            self._note(fault, verb, request)
            return _refusal(*_STATUS[fault], "injected after the write")
        if verb in (Verb.GET, Verb.LIST) and status == 200 and "continue" not in request.query:
            older = self._remember(request.path_qs, body)
            if fault is Fault.STALE_READ and older:
                self._note(fault, verb, request)
                body = older
        return web.Response(body=body, status=status, content_type=kind)

    async def _watch(self, request: web.Request, choice: Choice | None) -> web.StreamResponse:
        fault = choice.fault if choice else None
        if fault is Fault.RESET:
            self._note(fault, Verb.WATCH, request)
            return _reset(request)
        if fault in _STATUS:
            self._note(fault, Verb.WATCH, request)
            return _refusal(*_STATUS[fault], "injected")
        async with self._upstream(request, None) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            if choice and fault in (Fault.LATENCY, Fault.LATE_EVENTS):
                self._note(choice.fault, Verb.WATCH, request)
                await asyncio.sleep(choice.seconds)
            ends = fault in (Fault.DROPPED_WATCH, Fault.GONE_WATCH)
            try:
                async with asyncio.timeout(2 * choice.seconds if choice and ends else None):
                    await self._pump(answer, response)
            except TimeoutError:
                assert fault is not None
                self._note(fault, Verb.WATCH, request)
                if fault is Fault.DROPPED_WATCH:
                    return _reset(request)
                await response.write(_expired())
            return response

    async def _pump(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        """Pass events on, whole lines only."""
        rest = b""
        async for chunk in answer.content.iter_any():
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                await response.write(lines + newline)

    def _upstream(self, request: web.Request, body: bytes | None) -> Any:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        query = dict(request.query)
        if self._page_size and "limit" in query:
            query["limit"] = str(self._page_size)
        if "timeoutSeconds" in query:
            query["timeoutSeconds"] = str(_WATCH_SECONDS)
        url = self._server.address + request.path
        return self._session.request(request.method, url, params=query, headers=headers, data=body or None)

    def _remember(self, url: str, body: bytes) -> bytes | None:
        """Keep this answer; the oldest other one that is not too old, None when there is none."""
        now = time.monotonic()
        answers = self._answers.setdefault(url, deque(maxlen=_REMEMBERED))
        older = next((old for moment, old in answers if now - moment < _OLDEST_SECONDS and old != body), None)
        if not answers or answers[-1][1] != body:
            answers.append((now, body))
        return older

    def _note(self, fault: Fault, verb: Verb, request: web.Request) -> None:
        self.injections.append(Injection(time.monotonic(), fault, verb, request.path))


def classify(method: str, path: str, query: Mapping[str, str]) -> tuple[Verb, str]:
    """Verb and resource of a request; a subresource counts as its own resource ("finetunejobs/status")."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    if not rest:
        return Verb.DISCOVER, ""
    resource = "/".join([rest[0], *rest[2:]])
    if method != "GET":
        return _VERBS[method], resource
    if query.get("watch") in ("true", "1"):
        return Verb.WATCH, resource
    return (Verb.GET if len(rest) > 1 else Verb.LIST), resource


def _refusal(status: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason}
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.json_response({**body, "message": message, "details": {}}, status=status, headers=headers)


def _expired() -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "injected"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def _reset(request: web.Request) -> web.Response:
    """Cut the connection hard; the answer returned is never seen."""
    if transport := request.transport:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        transport.abort()
    return web.Response()
