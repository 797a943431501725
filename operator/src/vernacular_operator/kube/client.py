"""KubeApi by the official client's asyncio half.

It brings configuration, authentication and transport; its models stay unused, because they silently drop fields that
they do not know.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client, config

from vernacular.proxies import proxy_for
from vernacular_operator.kube.api import Kind, Object, Page
from vernacular_operator.kube.errors import NotFoundError, UnavailableError, error_for
from vernacular_operator.kube.shapes import read_event, read_list, read_stored
from vernacular_operator.telemetry.metrics import RequestCounter

_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
_WATCH_SECONDS = 300
# the server sends a bookmark about every minute: a watch that is silent for longer is dead
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
_CHUNK = 500


@dataclass(frozen=True)
class Connection:
    """Where the API server is and how to authenticate, for the watch layer. `token` is "" with a client certificate."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    verify: bool
    token: str
    proxy: str | None


async def connect(kubeconfig: Path | None, count: RequestCounter) -> KubernetesClient:
    """Connect with a kubeconfig file, or with the pod's service account when there is none."""
    configuration = client.Configuration()
    if kubeconfig is None:
        config.load_incluster_config(client_configuration=configuration)
    else:
        await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or proxy_for(configuration.host)
    return KubernetesClient(client.ApiClient(configuration), count)


class KubernetesClient:
    """KubeApi over a `kubernetes.aio` ApiClient; `count` is told of every request."""

    def __init__(self, api: Any, count: RequestCounter) -> None:
        self._api = api
        self._count = count

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return await self._call("GET", kind, _path(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        async for page in self.pages(kind, namespace, selector, fields):
            for item in page.items:
                yield item

    async def pages(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Page]:
        wanted = {"limit": str(_CHUNK), "labelSelector": selector, "fieldSelector": fields}
        query = {name: value for name, value in wanted.items() if value}
        while True:
            page = await self._page(kind, f"{_path(kind, namespace)}?{urlencode(query)}")
            metadata = page.get("metadata", {})
            yield Page(page.get("items", ()), metadata.get("resourceVersion", ""))
            if not (token := metadata.get("continue")):
                return
            query["continue"] = token

    async def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        # jitter, so that the watches of a restarted API server do not all end together
        seconds = _WATCH_SECONDS + random.randrange(30)
        query = {"watch": "1", "resourceVersion": version, "labelSelector": selector}
        query |= {"allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        path = f"{_path(kind, namespace)}?{urlencode(query)}"
        try:
            response = await self._open("GET", path, None, _WATCH_TIMEOUT)
            if response.status != 200:
                _decode("GET", path, response.status, await response.read())
            async with response.response:
                async for line in response.response.content:
                    event, document = read_event(kind, line)
                    if event == "ERROR":
                        raise error_for(document.get("code", 500), f"watch {path}: {document.get('message')}")
                    yield event, document
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnavailableError(f"watch {path}: {error or type(error).__name__}") from None

    async def streams_lists(self, kind: Kind, namespace: str) -> bool:
        """Whether the server lets a watch begin with what exists, as Kubernetes does since 1.34; False when unsure."""
        query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        query |= {"allowWatchBookmarks": "true", "timeoutSeconds": "1"}
        try:
            response = await self._open("GET", f"{_path(kind, namespace)}?{urlencode(query)}", None, _TIMEOUT)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        response.response.close()
        return bool(response.status == 200)

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        return await self._write("POST", kind, _path(kind, namespace), body)

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        path = f"{_path(kind, namespace, name)}/status"
        return await self._write("PATCH", kind, path, patch, "application/merge-patch+json")

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        options: Object = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        with suppress(NotFoundError):
            await self._call("DELETE", kind, _path(kind, namespace, name), options)

    async def close(self) -> None:
        await self._api.close()

    async def connection(self) -> Connection:
        """The present credentials; tokens are read again when they are old."""
        configuration = self._api.configuration
        settings = await configuration.auth_settings()
        value = settings.get("BearerToken", {}).get("value") or ""
        return Connection(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            verify=configuration.verify_ssl,
            token=value.partition(" ")[2],
            proxy=configuration.proxy,
        )

    def authority(self) -> str:
        """Digest of the authority that vouches for the API server: the same for all clients of a cluster, no right is
        needed to know it. "" when no authority of its own is configured.
        """
        path = self._api.configuration.ssl_ca_cert
        return f"ca-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]}" if path else ""

    async def _page(self, kind: Kind, path: str) -> Object:
        status, data = await self._request("GET", kind, path)
        if status >= 400:
            return _decode("GET", path, status, data)
        try:
            return read_list(kind, data)
        except ValueError as error:
            raise UnavailableError(f"GET {path}: {error}") from None

    async def _write(
        self, method: str, kind: Kind, path: str, body: Object, content_type: str = "application/json"
    ) -> Object:
        status, data = await self._request(method, kind, path, body, content_type)
        if status >= 400:
            return _decode(method, path, status, data)
        try:
            return read_stored(kind, data)
        except ValueError as error:
            raise UnavailableError(f"{method} {path}: {error}") from None

    async def _call(self, method: str, kind: Kind, path: str, body: Object | None = None) -> Object:
        return _decode(method, path, *await self._request(method, kind, path, body))

    async def _request(
        self, method: str, kind: Kind, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of the response."""
        try:
            response = await self._open(method, path, body, _TIMEOUT, content_type)
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._count(method, kind.plural, "none")
            raise UnavailableError(f"{method} {path}: {error or type(error).__name__}") from None
        self._count(method, kind.plural, str(response.status))
        return response.status, data

    async def _open(
        self,
        method: str,
        path: str,
        body: Object | None,
        limits: aiohttp.ClientTimeout,
        content_type: str = "application/json",
    ) -> Any:
        """A response whose body is still to be read."""
        # the server would spend more time on packing lists than the network on carrying them
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        return await self._api.call_api(method, url, headers, body, _request_timeout=limits)


def _decode(method: str, path: str, status: int, data: bytes) -> Object:
    try:
        document: Object = json.loads(data) if data else {}
    except ValueError:
        document = {"message": data[:200].decode(errors="replace")}
    if status >= 400:
        raise error_for(status, f"{method} {path}: {document.get('message', status)}", document.get("reason", ""))
    return document


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{kind.root}{scope}/{kind.plural}" + (f"/{quote(name, safe='')}" if name else "")
