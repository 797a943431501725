"""Which addresses are reached through a proxy: those that kubectl reaches so."""

from __future__ import annotations

import pytest

from vernacular.proxies import proxy_for

PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "no_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "intern.example.org, 10.0.0.0/8,192.168.7.9,fd00::/8,no network/99")


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "10.96.0.1", "192.168.7.9", "[fd00::1]", "a.intern.example.org"],
)
def test_what_is_reached_directly(host: str) -> None:
    assert proxy_for(f"https://{host}:6443/path") is None


@pytest.mark.parametrize("host", ["example.org", "11.0.0.1", "192.168.7.10", "[fe00::1]", "10.example.org"])
def test_what_is_reached_through_the_proxy(host: str) -> None:
    assert proxy_for(f"https://{host}:6443/path") == PROXY
    # there is none for this scheme
    assert proxy_for(f"http://{host}") is None


def test_no_proxy_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")

    assert proxy_for("https://10.1.1.1") is None
    assert proxy_for("https://example.org") is None
    assert proxy_for("pvc://") is None
