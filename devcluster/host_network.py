"""The host's side of the network: one link for the API server, one per node, routes, and firewall rules of our own."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterable
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import API_ADDRESS, API_LINK, LINK_PREFIX, NODE_RANGE, POD_RANGE, SERVICE_RANGE, Node
from devcluster.shell import run, succeeds, wait_until

CHAIN = "DEVCLUSTER"
# Docker and ufw set the policy of FORWARD or INPUT to DROP, so what our links carry is accepted before their rules.
_JUMPS = (
    ("FORWARD", "-i", f"{LINK_PREFIX}+", "-o", f"{LINK_PREFIX}+", "-j", CHAIN),
    ("INPUT", "-i", f"{LINK_PREFIX}+", "-j", CHAIN),
)


def make_api_link() -> None:
    """A bridge without ports: this address exists on the host alone and needs no dummy device in the kernel."""
    run(["ip", "link", "add", API_LINK, "type", "bridge"])
    run(["ip", "address", "add", f"{API_ADDRESS}/32", "dev", API_LINK])
    run(["ip", "link", "set", API_LINK, "up"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(["iptables", "-w", "-N", CHAIN])
    run(["iptables", "-w", "-A", CHAIN, "-j", "ACCEPT"])
    for chain, *rule in _JUMPS:
        run(["iptables", "-w", "-I", chain, *rule])


def connect_node(node: Node, init_pid: int, *, carries_services: bool) -> None:
    """A link between the host and the network namespace of process `init_pid`, and the routes through it."""
    run(["ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", str(init_pid)])
    run(["ip", "address", "add", f"{node.host_address}/24", "dev", node.link])
    run(["ip", "link", "set", node.link, "up"])
    inside = ["nsenter", "--target", str(init_pid), "--net"]
    run([*inside, "ip", "address", "add", f"{node.address}/24", "dev", "eth0"])
    for link in ("lo", "eth0"):
        run([*inside, "ip", "link", "set", link, "up"])
    run([*inside, "ip", "route", "add", "default", "via", node.host_address])
    set_routes(node, carries_services=carries_services)


def set_routes(node: Node, *, carries_services: bool) -> None:
    """Also needed after a node's link was down: the kernel drops routes with the link."""
    ranges = [node.pod_range, *([SERVICE_RANGE] if carries_services else [])]
    for target in ranges:
        run(["ip", "route", "replace", target, "via", node.address])


def remove_all() -> None:
    """Remove every link and rule of ours; routes go with their links. Safe to call when there is nothing."""
    for chain, *rule in _JUMPS:
        while succeeds(["iptables", "-w", "-D", chain, *rule]):
            pass
    if succeeds(["iptables", "-w", "-F", CHAIN]):
        run(["iptables", "-w", "-X", CHAIN])
    # A veth vanishes by itself some time after its namespace: deleting and waiting covers both orders.
    for link in our_links():
        succeeds(["ip", "link", "delete", link])
    wait_until("links removed", lambda: not our_links(), timeout=20)


def our_links(names: Iterable[str] | None = None) -> list[str]:
    """Those of `names` (default: this network namespace's links) that the cluster made."""
    present = [name for _, name in socket.if_nameindex()] if names is None else names
    return sorted(name for name in present if name.startswith(LINK_PREFIX) and name[len(LINK_PREFIX) :].isdigit())


def check_ranges_are_free() -> None:
    """Raises DevclusterError when another network of this machine overlaps the cluster's ranges."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    clashes = overlapping(routes)
    if clashes:
        raise DevclusterError(
            f"this machine already routes {', '.join(clashes)}, which overlaps the cluster's ranges "
            f"{NODE_RANGE}, {POD_RANGE} and {SERVICE_RANGE}; stop that network (a VPN, another Kubernetes) meanwhile"
        )


def overlapping(routes: Iterable[dict[str, object]]) -> list[str]:
    """Destinations in `ip -json route` output that overlap the cluster's ranges, our own links left out."""
    ours = [ipaddress.ip_network(text) for text in (NODE_RANGE, POD_RANGE, SERVICE_RANGE)]
    found = []
    for route in routes:
        target, device = str(route.get("dst", "default")), str(route.get("dev", ""))
        if target == "default" or device.startswith(LINK_PREFIX):
            continue
        network = ipaddress.ip_network(target, strict=False)
        if network.prefixlen > 0 and any(network.overlaps(our) for our in ours if our.version == network.version):
            found.append(f"{target} ({device})")
    return found
