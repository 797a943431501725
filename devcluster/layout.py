"""Addresses and names of the cluster's network. The ranges are private; preflight checks that they are free."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

API_ADDRESS = "10.200.0.1"
API_PORT = 6443
IMAGE_PORT = 5000
NODE_RANGE = "10.200.0.0/16"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
REGISTRY_NAME = "dev.local"
LINK_PREFIX = "devc"
API_LINK = f"{LINK_PREFIX}0"
MAX_NODES = 9


@dataclass(frozen=True)
class Node:
    """One node; `index` counts from 1."""

    index: int

    @property
    def name(self) -> str:
        return f"node-{self.index}"

    @property
    def address(self) -> str:
        return f"10.200.{self.index}.2"

    @property
    def host_address(self) -> str:
        return f"10.200.{self.index}.1"

    @property
    def pod_range(self) -> str:
        return f"10.244.{self.index - 1}.0/24"

    @property
    def link(self) -> str:
        return f"{LINK_PREFIX}{self.index}"


def nodes(count: int) -> list[Node]:
    return [Node(index) for index in range(1, count + 1)]


def cgroup_prefix(cluster: Path) -> str:
    return f"devcluster-{hashlib.sha256(str(cluster).encode()).hexdigest()[:8]}-"


@dataclass(frozen=True)
class NodeFolders:
    """What one node keeps on disk. `containerd` survives `down` (image layers); the rest belongs to one cluster."""

    state: Path
    containerd: Path

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.state / "pod-logs"

    @property
    def cni(self) -> Path:
        return self.state / "cni"

    @property
    def registries(self) -> Path:
        return self.state / "registries"

    @property
    def cgroup(self) -> str:
        """Name of the node's control group: another cluster of this machine never has the same."""
        return f"{cgroup_prefix(self.state.parent)}{self.state.name}"

    @property
    def addresses(self) -> Path:
        return self.state / "addresses"
