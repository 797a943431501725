"""The way out of a library that looks names up by itself: a proxy on loopback that looks at every address before it
connects, also at those that a redirect leads to, or that a name has got meanwhile.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import weakref
from collections.abc import Callable
from urllib.parse import urlsplit

_CONNECT_SECONDS = 5
_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_AWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"

# host, port, address that the host's name stands for
MayReach = Callable[[str, int, str], bool]


class NotAllowedError(Exception):
    """A server may not be asked; its text is host and port."""


class Guard:
    """An HTTP proxy at `url` for as long as somebody holds it. `refused`: the servers that it would not connect to, as
    host and port.
    """

    def __init__(self, may_reach: MayReach) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.refused: list[str] = []
        weakref.finalize(self, _close, listener)
        arguments = (listener, may_reach, self.refused)
        threading.Thread(target=_serve, args=arguments, name="guard", daemon=True).start()


def connected(host: str, port: int, may_reach: MayReach) -> socket.socket:
    """A connection to an address of a server, once all of its name were looked at. Raises NotAllowedError and
    OSError.
    """
    addresses = looked_at(host, port, may_reach)
    *others, last = addresses
    for address in others:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), _CONNECT_SECONDS)
    return socket.create_connection((last, port), _CONNECT_SECONDS)


def looked_at(host: str, port: int, may_reach: MayReach) -> tuple[str, ...]:
    """The addresses of a server. Raises NotAllowedError, and OSError when none is known."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(may_reach(host, port, address) for address in addresses):
        raise NotAllowedError(f"{host}:{port}")
    return addresses


def _close(listener: socket.socket) -> None:
    # wakes up who waits for a connection
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _serve(listener: socket.socket, may_reach: MayReach, refused: list[str]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_pass, args=(client, may_reach, refused), name="guarded", daemon=True).start()


def _pass(client: socket.socket, may_reach: MayReach, refused: list[str]) -> None:
    """One request, and the connection that it opens."""
    with client, contextlib.suppress(OSError, ValueError):
        method, target, *headers = _head(client)
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = url.hostname or "", url.port or 80
        try:
            server = connected(host, port, may_reach)
        except NotAllowedError as error:
            refused.append(str(error))
            client.sendall(_REFUSED)
            return
        except OSError:
            client.sendall(_AWAY)
            return
        with server:
            server.settimeout(None)
            if method == "CONNECT":
                client.sendall(_OPEN)
            else:
                path = url._replace(scheme="", netloc="").geturl() or "/"
                server.sendall(_asked(method, path, headers))
            _relay(client, server)


def _head(client: socket.socket) -> list[str]:
    """Method, target and header lines of a request. What comes behind them stays unread."""
    with client.makefile("rb", buffering=0) as stream:
        size, lines = 0, []
        while (line := stream.readline(_HEAD_BYTES)).strip():
            size += len(line)
            lines.append(line.decode("latin-1").rstrip("\r\n"))
            if size > _HEAD_BYTES:
                raise ValueError("a request without an end")
    method, target, _ = lines[0].split(" ") if lines else []
    return [method, target, *lines[1:]]


def _asked(method: str, path: str, headers: list[str]) -> bytes:
    """The request as its server gets it: one connection for each, which leads nowhere but to that server."""
    kept = [line for line in headers if not line.lower().startswith(("connection:", "proxy-"))]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")


def _relay(client: socket.socket, server: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                source: socket.socket = key.fileobj  # type: ignore[assignment]
                data = source.recv(_BLOCK_BYTES)
                if not data:
                    return
                key.data.sendall(data)
