"""Which networks of the machine are in the way, and which links are ours."""

from __future__ import annotations

import pytest

from devcluster.host_network import our_links, overlapping


@pytest.mark.parametrize("target", ["10.0.0.0/8", "10.96.3.0/24", "10.200.7.1", "10.244.0.0/16"])
def test_a_network_in_the_same_range_is_in_the_way(target: str) -> None:
    assert overlapping([{"dst": target, "dev": "tun0"}]) == [f"{target} (tun0)"]


@pytest.mark.parametrize(
    "route",
    [
        {"dst": "default", "dev": "eth0"},
        {"dst": "192.168.1.0/24", "dev": "eth0"},
        {"dst": "10.10.0.0/16", "dev": "eth0"},
        {"dst": "10.244.0.0/24", "dev": "devc1"},
        {"dst": "0.0.0.0/0", "dev": "wg0"},
        {"dst": "fd00::/8", "dev": "eth0"},
    ],
)
def test_other_networks_are_not(route: dict[str, object]) -> None:
    assert overlapping([route]) == []


def test_our_links_are_known_by_their_names() -> None:
    assert our_links(["lo", "eth0", "devc0", "devc12", "devcontainer", "devc"]) == ["devc0", "devc12"]
