"""What the calls share, and who calls."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from vernacular_openai.config import ServiceConfig
from vernacular_openai.kubernetes import Caller, unauthorised
from vernacular_openai.store import FileStore

_TOKEN = re.compile(r"Bearer +([\x21-\x7e]{1,16384})")


def _now() -> int:
    return int(time.time())


@dataclass(frozen=True)
class Services:
    """The parts of the service. `kubernetes` is the address of the API server, `authority` the file with the
    certificate that prepare pods trust, which may be missing.
    """

    config: ServiceConfig
    store: FileStore
    key: bytes = field(repr=False)
    kubernetes: str
    session: aiohttp.ClientSession
    authority: Path
    now: Callable[[], int] = _now

    def caller(self, request: web.Request) -> Caller:
        """Who sends a request. Raises ApiError."""
        return Caller(self.session, self.kubernetes, bearer(request))


@dataclass(frozen=True)
class Call:
    """One call of the API: who calls, and about which namespace."""

    request: web.Request
    services: Services
    caller: Caller
    namespace: str

    async def space(self) -> str:
        """Where the files of the namespace are kept: another namespace of the same name, later, does not find them."""
        return f"{self.namespace}.{await self.caller.identity(self.namespace)}"


def bearer(request: web.Request) -> str:
    """The token of a request. Raises ApiError."""
    found = _TOKEN.fullmatch(request.headers.get("Authorization", ""))
    if not found:
        raise unauthorised("The API key is missing: it is a token of a Kubernetes service account")
    return found.group(1)
