"""Configuration files of a node."""

from __future__ import annotations

import ipaddress
import json
import tomllib
from pathlib import Path

import pytest

from devcluster import layout, node_config
from devcluster.layout import Node, NodeFolders


@pytest.fixture
def folders() -> NodeFolders:
    return NodeFolders(Path("/state/dev/node-2"), Path("/images/node-2"))


def test_containerd_keeps_images_apart_from_the_cluster_state(folders: NodeFolders) -> None:
    config = tomllib.loads(node_config.containerd(folders, "dev.local/pause:1"))
    kubernetes = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == "/images/node-2"
    assert kubernetes["sandbox_image"] == "dev.local/pause:1"
    assert kubernetes["registry"]["config_path"] == "/state/dev/node-2/registries"
    assert kubernetes["restrict_oom_score_adj"] is True
    assert "disabled_plugins" not in config


def test_containerd_without_kubernetes_is_for_cleaning_up(folders: NodeFolders) -> None:
    config = tomllib.loads(node_config.containerd(folders, "dev.local/pause:1", with_kubernetes=False))
    assert config["disabled_plugins"] == ["io.containerd.grpc.v1.cri"]


def test_images_come_from_the_server_on_the_host(folders: NodeFolders) -> None:
    hosts = tomllib.loads(node_config.registry_hosts())
    assert hosts["server"] == "http://10.200.0.1:5000"
    assert hosts["host"]["http://10.200.0.1:5000"]["capabilities"] == ["pull", "resolve"]
    assert node_config.registry_folder(folders).name == "dev.local"


def test_pods_of_a_node_get_addresses_of_its_range(folders: NodeFolders) -> None:
    network = json.loads(node_config.pod_network(Node(2), folders))
    addresses = network["plugins"][0]["ipam"]
    assert addresses["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert addresses["dataDir"] == "/state/dev/node-2/addresses"


def test_kubelet_lets_nobody_in_without_certificate_or_token(folders: NodeFolders) -> None:
    config = json.loads(
        node_config.kubelet(Node(2), folders, authority=Path("/ca"), certificate=Path("/c"), key=Path("/k"))
    )
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authentication"]["webhook"] == {"enabled": True}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["address"] == "10.200.2.2"
    assert "readOnlyPort" not in config
    assert config["imageGCHighThresholdPercent"] == 100


def test_every_node_has_a_control_group_of_its_own_on_this_machine() -> None:
    groups = {
        NodeFolders(Path(f"/{cache}/clusters/dev/node-{index}"), Path("/i")).cgroup
        for cache in ("a", "b")
        for index in (1, 2)
    }
    assert len(groups) == 4
    assert all("/" not in group for group in groups)


def test_kubeconfig_names_a_certificate_and_no_token() -> None:
    config = json.loads(node_config.kubeconfig("https://10.200.0.1:6443", Path("/ca"), Path("/c"), Path("/k")))
    assert config["users"][0]["user"] == {"client-certificate": "/c", "client-key": "/k"}
    assert config["clusters"][0]["cluster"] == {
        "server": "https://10.200.0.1:6443",
        "certificate-authority": "/ca",
    }


def test_nodes_share_no_address_range() -> None:
    every = layout.nodes(layout.MAX_NODES)
    pods = [ipaddress.ip_network(node.pod_range) for node in every]
    assert len({node.link for node in every}) == len({node.address for node in every}) == layout.MAX_NODES
    assert not any(a.overlaps(b) for i, a in enumerate(pods) for b in pods[i + 1 :])
    assert all(pod.subnet_of(ipaddress.ip_network(layout.POD_RANGE)) for pod in pods)
    assert all(ipaddress.ip_address(node.address) in ipaddress.ip_network(layout.NODE_RANGE) for node in every)
    assert all(len(node.link) <= 15 for node in every)
