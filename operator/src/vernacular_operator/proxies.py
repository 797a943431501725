"""The proxy for an address, from the environment; looked up once, since doing it for each request costs a thread."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """URL of the proxy that the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) names for this address, if any."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
