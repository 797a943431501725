"""Requests to the API server, on plain dicts."""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from vernacular.cli.cluster.credentials import Credentials, credentials_of
from vernacular.cli.cluster.kubeconfig import Access
from vernacular.cli.errors import CliError, ExitCode
from vernacular.proxies import proxy_for

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT = httpx2.Timeout(30, connect=10)
# the server sends a bookmark about every minute: a watch that is silent for longer is dead
WATCH_SILENCE = 90


class ApiError(Exception):
    """The server refused a request. `reason` is one word, as in metav1.Status."""

    def __init__(self, code: int, document: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {document.get('message', '')}")
        self.code = code
        self.reason = str(document.get("reason", ""))
        self.message = str(document.get("message", "")) or f"HTTP {code}"


class UnreachableError(CliError):
    """The server did not answer."""

    def __init__(self, server: str, what: str) -> None:
        super().__init__(
            f"the cluster at {server} does not answer: {what}",
            "check that it runs and that this machine reaches it: kubectl cluster-info",
            ExitCode.NO_ACCESS,
        )


class Client:
    """One API server with one user's rights. Every method raises ApiError, UnreachableError or CliError."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http = self._connected(credentials_of(access.user))

    @property
    def server(self) -> str:
        """Address of the server."""
        return self._access.server

    def get(self, path: str, **query: str) -> Json:
        """Read an object or a list."""
        return self._send("GET", path, None, query)

    def create(self, path: str, body: Json, **query: str) -> Json:
        """Create an object; it is returned as stored."""
        return self._send("POST", path, body, query)

    def merge(self, path: str, patch: Json) -> Json:
        """Apply a merge patch."""
        return self._send("PATCH", path, patch, {}, MERGE_PATCH)

    def delete(self, path: str, options: Json) -> Json:
        """Delete an object, with metav1.DeleteOptions."""
        return self._send("DELETE", path, options, {})

    def lines(self, path: str, silence: float | None, **query: str) -> Iterator[bytes]:
        """Lines of an answer that goes on: a watch, a log. It ends when nothing comes for `silence` seconds."""
        rest = b""
        with self._streamed(path, query, silence) as response:
            try:
                for chunk in response.iter_bytes():
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
            except httpx2.ReadTimeout:
                return
            except httpx2.HTTPError as error:
                raise UnreachableError(self.server, _words(error)) from None
        if rest:
            yield rest

    def _send(
        self, method: str, path: str, body: Json | None, query: Mapping[str, str], kind: str = "application/json"
    ) -> Json:
        # as itself: escaped, a letter that is not Latin takes three times the room, and the server counts
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="replace")
        headers = {"Content-Type": kind} if body is not None else {}
        try:
            response = self._http.request(method, path, params=query, content=content, headers=headers)
            if response.status_code == 401:
                self._log_in_again()
                response = self._http.request(method, path, params=query, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise UnreachableError(self.server, _words(error)) from None
        return _decoded(response.status_code, response.content)

    @contextmanager
    def _streamed(self, path: str, query: Mapping[str, str], silence: float | None) -> Iterator[httpx2.Response]:
        timeout = httpx2.Timeout(10, read=silence)
        request = self._http.build_request("GET", path, params=query, timeout=timeout)
        try:
            response = self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise UnreachableError(self.server, _words(error)) from None
        try:
            if response.status_code >= 400:
                _decoded(response.status_code, response.read())
            yield response
        finally:
            response.close()

    def _log_in_again(self) -> None:
        """Tokens expire: files are read and plugins asked again."""
        self._http.close()
        self._http = self._connected(credentials_of(self._access.user))

    def _connected(self, credentials: Credentials) -> httpx2.Client:
        access = self._access
        headers = [("Accept", "application/json"), *access.user.impersonation]
        if credentials.token:
            headers.append(("Authorization", f"Bearer {credentials.token}"))
        basic = httpx2.BasicAuth(access.user.name, access.user.password) if access.user.password else None
        name = access.tls_server_name
        tls = _tls(access, credentials)
        try:
            return httpx2.Client(
                base_url=access.server,
                headers=headers,
                auth=basic,
                verify=tls,
                proxy=access.proxy or proxy_for(access.server),
                timeout=_TIMEOUT,
                # a .netrc of this machine is not meant for clusters
                trust_env=False,
                event_hooks={"request": [lambda request: request.extensions.update(sni_hostname=name)]}
                if name
                else None,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise CliError(
                f"the address {access.server} or its proxy cannot be used: {error}",
                "mend server and proxy-url of the kubeconfig: kubectl config view shows them",
                ExitCode.NO_ACCESS,
            ) from None


def _tls(access: Access, credentials: Credentials) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=access.authority or None)
        if not access.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if credentials.certificate:
            # the ssl module takes files alone; the folder is this user's own and goes at once
            with tempfile.TemporaryDirectory() as folder:
                certificate, key = Path(folder, "certificate"), Path(folder, "key")
                certificate.write_bytes(credentials.certificate)
                key.write_bytes(credentials.key)
                context.load_cert_chain(certificate, key)
    except (ssl.SSLError, ValueError) as error:
        raise CliError(
            f"a certificate or key of the kubeconfig cannot be used: {error}",
            "log in to the cluster again, so that the kubeconfig is written anew",
            ExitCode.NO_ACCESS,
        ) from None
    return context


def _decoded(code: int, content: bytes) -> Json:
    try:
        document = json.loads(content) if content else {}
    except ValueError:
        document = {"message": content[:200].decode(errors="replace")}
    if not isinstance(document, dict):
        document = {"message": "the answer is not of a Kubernetes API server"}
    if code >= 400:
        raise ApiError(code, document)
    return document


def _words(error: httpx2.HTTPError) -> str:
    return str(error) or {"ConnectTimeout": "no connection in time", "ReadTimeout": "no answer in time"}.get(
        type(error).__name__, type(error).__name__
    )
