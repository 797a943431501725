"""The proxy for an address, from the environment: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as kubectl understands them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """URL of the proxy for this address, if any. Looked up once: doing it for each request would cost a thread."""
    parts = urlsplit(url)
    proxies = getproxies()
    if not parts.hostname or _is_direct(parts.hostname, proxies.get("no", "")):
        return None
    return proxies.get(parts.scheme)


def _is_direct(host: str, exceptions: str) -> bool:
    """What urllib knows, and in addition, as Go's programs do, this machine itself and the networks of NO_PROXY."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or bool(proxy_bypass(host))
    within = any(_holds(entry.strip(), address) for entry in exceptions.split(","))
    return address.is_loopback or within or bool(proxy_bypass(host))


def _holds(entry: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
