"""Requests to web servers that a platform team allows: every redirect and every address is looked at before it is used.

The standard library's client, because it connects to the very address that was looked at: a client that looks the name
up a second time can be led elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from vernacular_trainer.contract import HttpsConfig, StageFailure
from vernacular_trainer.data.remote.addresses import may_reach
from vernacular_trainer.data.remote.files import Access
from vernacular_trainer.errors import StageError, refused

_PORT = 443
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"})
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")
_PATH = "/%:@!$&'()*+,;=-._~?"


class _Connection(HTTPSConnection):
    """A connection to one of `addresses`, which were looked at, whatever the name stands for by now."""

    def __init__(self, host: str, port: int, addresses: tuple[str, ...], context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_READ_SECONDS, context=context)
        self._addresses = addresses
        self._tls = context

    def connect(self) -> None:
        plain = self._first_that_answers()
        plain.settimeout(_READ_SECONDS)
        # an answer without a length is whole only when the server says that it ends
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, suppress_ragged_eofs=False)

    def _first_that_answers(self) -> socket.socket:
        *others, last = self._addresses
        for address in others:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, self.port), _CONNECT_SECONDS)
        return socket.create_connection((last, self.port), _CONNECT_SECONDS)


@dataclass(frozen=True)
class Web:
    """Asks for one file as `access` says. Its login goes to the server of the uri alone."""

    access: Access
    allowed: HttpsConfig = field(default_factory=HttpsConfig)

    @contextlib.contextmanager
    def get(self, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """The answer to a GET, after redirects: status 200, 206 or 416.

        Raises StageError: `access.missing`, `access.denied`, SourceNotAllowed, ArgumentRefused, SourceUnavailable.
        """
        url = self._split(self.access.uri)
        for _ in range(_MOST_REDIRECTS + 1):
            connection = self._connection(url)
            with contextlib.closing(connection):
                with self._explained(url):
                    response = self._ask(connection, url, headers)
                if response.status not in _REDIRECTS:
                    self._check(response)
                    yield response
                    return
                url = self._split(urljoin(url.geturl(), response.headers.get("Location", "")), url)
        message = f"{self.access.uri} is redirected more than {_MOST_REDIRECTS} times"
        raise refused(message, "write the address that it leads to in the end")

    def read(self, response: HTTPResponse, most: int) -> bytes:
        """The next bytes of an answer, b"" at its end. Raises StageError (SourceUnavailable)."""
        try:
            return response.read(most)
        except (OSError, HTTPException) as error:
            raise self.unavailable(type(error).__name__) from None

    def unavailable(self, evidence: str) -> StageError:
        """The server does not answer as it could."""
        message = f"{self.access.uri} cannot be read now"
        advice = "it is tried again; if it stays, check the address and that prepare pods may reach it"
        return StageError(StageFailure.SOURCE_UNAVAILABLE, message, advice, evidence)

    @contextlib.contextmanager
    def _explained(self, url: SplitResult) -> Iterator[None]:
        """What goes wrong before there is an answer is a StageError."""
        where = _server(url)
        try:
            yield
        except ssl.SSLCertVerificationError:
            message = f"the certificate of {where} is not trusted"
            advice = "put the certificate of its authority as ca.crt into the Secret of the source"
            raise refused(message, advice) from None
        except socket.gaierror:
            raise self.unavailable(f"no address is known for {where}") from None
        except (OSError, HTTPException, UnicodeError) as error:
            if getattr(error, "reason", "") in _NO_TLS:
                raise refused(f"{where} does not speak TLS", "check host and port") from None
            raise self.unavailable(type(error).__name__) from None

    def _ask(self, connection: HTTPSConnection, url: SplitResult, headers: Mapping[str, str]) -> HTTPResponse:
        own = _server(url) == _server(urlsplit(self.access.uri))
        target = quote(url.path or "/", safe=_PATH) + (f"?{quote(url.query, safe=_PATH)}" if url.query else "")
        # what is packed is stored and read as it is
        everywhere = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "vernacular"}
        connection.request("GET", target, headers={**everywhere, **headers, **(self._login if own else {})})
        return connection.getresponse()

    def _check(self, response: HTTPResponse) -> None:
        status = response.status
        if status in (401, 403):
            secret = self.access.credentials_name
            who = f"with the login of the Secret {secret}" if secret else "without a login"
            advice = "name a Secret with HTTPS_TOKEN, or HTTPS_USERNAME and HTTPS_PASSWORD, that may in credentials"
            raise StageError(self.access.denied, f"{self.access.uri} may not be read {who}", advice, f"HTTP {status}")
        if status in (404, 410):
            message = f"{self.access.uri} does not exist"
            raise StageError(self.access.missing, message, "check the address", f"HTTP {status}")
        if status >= 500 or status in _TRY_AGAIN:
            raise self.unavailable(f"HTTP {status}")
        if status not in (200, 206, 416):
            advice = "check the address; it must lead to a file"
            raise refused(f"{self.access.uri} is answered with HTTP {status}", advice)
        if response.headers.get_content_type() == "text/html":
            message = f"{self.access.uri} is answered with a page, not with a file"
            raise refused(message, "write the address of the file itself; a page to log in needs credentials")

    def _split(self, uri: str, origin: SplitResult | None = None) -> SplitResult:
        """The parts of an address that may be asked. `origin`: what has led to it."""
        try:
            url = urlsplit(uri)
            host, port = url.hostname or "", url.port or _PORT
        except ValueError:
            raise refused(f"{self.access.uri} leads to what is no address", "check the address") from None
        led = f"{self.access.uri} is redirected" if origin else self.access.uri
        if url.scheme != "https" or not host or url.username is not None:
            message = f"{led} to an address that is not https://, or has a user in it"
            raise StageError(StageFailure.SOURCE_NOT_ALLOWED, message, "have it lead to https:// all the way")
        if not self.allowed.allows(host, port):
            server = _server(url)
            message = f"{led} to {server}" if origin else led
            advice = f"ask the platform team to add {server} to the chart's value config.https.hosts"
            raise StageError(StageFailure.SOURCE_NOT_ALLOWED, f"{message}, where jobs may not read", advice)
        return url

    def _connection(self, url: SplitResult) -> HTTPSConnection:
        host, port = url.hostname or "", url.port or _PORT
        proxy = "" if proxy_bypass(host) else getproxies().get("https", "")
        if proxy:
            return _tunnel(proxy, host, port, self._context)
        with self._explained(url):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not all(may_reach(self.allowed, host, port, address) for address in addresses):
            message = f"{self.access.uri} leads to {_server(url)}, which is no public address"
            advice = f"ask the platform team to list {_server(url)} by its own name in the value config.https.hosts"
            raise StageError(StageFailure.SOURCE_NOT_ALLOWED, message, advice)
        return _Connection(host, port, addresses, self._context)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        import certifi

        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        if certificate := self.access.secret("ca.crt"):
            try:
                # files of authorities hold names and comments around them, in any language
                context.load_verify_locations(cadata="\n".join(_CERTIFICATE.findall(certificate)))
            except (ssl.SSLError, ValueError):
                name = self.access.credentials_name
                message = f"the key ca.crt of the Secret {name} of {self.access.uri} is no certificate"
                raise refused(message, "write the certificate of the authority into it as PEM") from None
        return context

    @cached_property
    def _login(self) -> dict[str, str]:
        access = self.access
        if token := access.secret("HTTPS_TOKEN"):
            return {"Authorization": f"Bearer {_header(access, token)}"}
        if access.secret("HTTPS_USERNAME") or access.secret("HTTPS_PASSWORD"):
            login = f"{access.required_secret('HTTPS_USERNAME')}:{access.required_secret('HTTPS_PASSWORD')}"
            return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        if access.credentials_name and not access.secret("ca.crt"):
            access.required_secret("HTTPS_TOKEN")
        return {}


def _header(access: Access, token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        message = f"the key HTTPS_TOKEN of the Secret {access.credentials_name} of {access.uri} is no token"
        raise refused(message, "write one line of letters, digits and signs into it")
    return token


def _tunnel(proxy: str, host: str, port: int, context: ssl.SSLContext) -> HTTPSConnection:
    """A connection through a proxy, which looks the name up and decides where it may lead."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = HTTPSConnection(parts.hostname or "", parts.port or 80, timeout=_READ_SECONDS, context=context)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    encoded = base64.b64encode(login.encode()).decode()
    connection.set_tunnel(host, port, {"Proxy-Authorization": f"Basic {encoded}"} if parts.username else {})
    return connection


def _server(url: SplitResult) -> str:
    """Host, and port unless it is the usual one: never path or query, which may hold a secret."""
    port = url.port or _PORT
    return f"{url.hostname}" if port == _PORT else f"{url.hostname}:{port}"
