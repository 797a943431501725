"""The bench's own view of the API server: asynchronous, and never counted as the operator's."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any

import aiohttp

from support.apiserver import JSON, MERGE_PATCH, ApiError, ApiServer

Document = dict[str, Any]

_LONGEST_LINE = 2**22
_POSTS_AT_ONCE = 8
_COUNTERS = re.compile(
    r"^(apiserver_request_total|apiserver_flowcontrol_dispatched_requests_total)\{(.*)\} (\S+)$", re.MULTILINE
)
_READS = frozenset({"GET", "LIST", "WATCH", "CONNECT"})
# the API server's own housekeeping and what it asks on behalf of others
_NOT_COUNTED = frozenset({"leases", "subjectaccessreviews", "tokenreviews", "selfsubjectaccessreviews"})


class Api:
    """Requests with the administrator's certificate: they bypass the flow schemas in which operators are counted."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._server.tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._session = aiohttp.ClientSession(
            self._server.address, connector=connector, timeout=timeout, read_bufsize=_LONGEST_LINE
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session
        await self._session.close()

    async def text(self, method: str, path: str, body: bytes | None = None, content_type: str = JSON) -> bytes:
        """The answer as it is. Raises ApiError."""
        assert self._session
        headers = {"Content-Type": content_type}
        async with self._session.request(method, path, data=body, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise ApiError(answer.status, text.decode(errors="replace")[:500])
            return text

    async def post(self, path: str, body: Mapping[str, Any]) -> Document:
        answer: Document = json.loads(await self.text("POST", path, json.dumps(body).encode()))
        return answer

    async def post_all(self, path: str, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Create all as fast as the API server takes them, a few at a time."""
        slots = asyncio.Semaphore(_POSTS_AT_ONCE)

        async def create(body: Mapping[str, Any]) -> None:
            async with slots:
                await self.post(path, body)

        async with asyncio.TaskGroup() as tasks:
            for body in bodies:
                tasks.create_task(create(body))

    async def patch_status(self, path: str, status: Mapping[str, Any]) -> None:
        await self.text("PATCH", f"{path}/status", json.dumps({"status": status}).encode(), MERGE_PATCH)

    async def watch(self, path: str) -> AsyncIterator[bytes]:
        """One line for each event, for ever, beginning with the objects that exist.

        The server ends a watch that is read too slowly: then all that exists comes once more.
        """
        assert self._session
        query = "&" if "?" in path else "?"
        while True:
            async with self._session.get(f"{path}{query}watch=1&timeoutSeconds=3600") as answer:
                if answer.status != 200:
                    raise ApiError(answer.status, (await answer.text())[:500])
                async for line in answer.content:
                    yield line

    async def counts(self) -> Counts:
        """What the API server has counted so far."""
        requests: Counter[tuple[str, str, str]] = Counter()
        flows: Counter[str] = Counter()
        for name, text, value in _COUNTERS.findall((await self.text("GET", "/metrics")).decode()):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            if name == "apiserver_request_total":
                resource = f"{labels['resource']}/{labels['subresource']}".rstrip("/")
                requests[labels["verb"], resource, labels["code"]] += int(float(value))
            else:
                flows[labels["flow_schema"]] += int(float(value))
        return Counts(requests, flows)


class Counts:
    """Numbers of requests: by verb, resource and HTTP status, and by flow schema."""

    def __init__(self, requests: Counter[tuple[str, str, str]], flows: Counter[str]) -> None:
        self.requests = requests
        self.flows = flows

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(self.requests - earlier.requests, self.flows - earlier.flows)

    def writes(self) -> Counter[str]:
        """Writes as `POST jobs`, whoever made them, refused ones included."""
        found: Counter[str] = Counter()
        for (verb, resource, code), count in self.requests.items():
            if verb not in _READS and resource.partition("/")[0] not in _NOT_COUNTED:
                found[f"{verb} {resource}" + ("" if code < "300" else f" {code}")] += count
        return found

    def created(self) -> Counter[str]:
        """Objects made, by resource, whoever made them."""
        found: Counter[str] = Counter()
        for (_, resource, code), count in self.requests.items():
            # a POST to a subresource answers 201 too, and makes nothing
            if code == "201" and "/" not in resource and resource not in _NOT_COUNTED:
                found[resource] += count
        return found


def flow_schema(name: str, namespace: str, account: str) -> Document:
    """Counts a service account's requests apart, at the priority that service accounts have anyway."""
    subject = {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": account}}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "matchingPrecedence": 8000,
            "priorityLevelConfiguration": {"name": "workload-low"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [subject], "resourceRules": [everything], "nonResourceRules": paths}],
        },
    }
