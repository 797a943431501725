"""Configuration files of one node, as text. Nothing here touches the machine."""

from __future__ import annotations

import json
from pathlib import Path

from devcluster.layout import API_ADDRESS, DNS_ADDRESS, IMAGE_PORT, REGISTRY_NAME, Node, NodeFolders

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_PROGRAMS = "/usr/lib/cni"


def containerd(folders: NodeFolders, pause_image: str, *, with_kubernetes: bool = True) -> str:
    """restrict_oom_score_adj: without CAP_SYS_RESOURCE runc cannot lower the score and no container starts."""
    disabled = "" if with_kubernetes else 'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    return f"""version = 2
{disabled}root = "{folders.containerd}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{pause_image}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{folders.cni}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folders.registries}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def registry_hosts() -> str:
    address = f"http://{API_ADDRESS}:{IMAGE_PORT}"
    return f"""server = "{address}"
[host."{address}"]
  capabilities = ["pull", "resolve"]
"""


def registry_folder(folders: NodeFolders) -> Path:
    return folders.registries / REGISTRY_NAME


def pod_network(node: Node, folders: NodeFolders) -> str:
    """Point-to-point links: every packet is routed, so Services work without br_netfilter in the kernel."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folders.addresses),
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}, indent=1)


def kubelet(node: Node, folders: NodeFolders, *, authority: Path, certificate: Path, key: Path) -> str:
    """Image garbage collection is off: it would delete seeded images on a half-full disk.

    The node's status is posted often, so that a lost node is noticed within seconds in tests.
    """
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folders.cgroup}",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "address": node.address,
        "podLogsDir": str(folders.pod_logs),
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "10s",
        "syncFrequency": "10s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }
    return json.dumps(settings, indent=1)


def kubeconfig(server: str, authority: Path, certificate: Path, key: Path) -> str:
    """JSON is valid YAML, and needs no YAML library."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devcluster", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "user", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "user"}}],
        "current-context": "devcluster",
    }
    return json.dumps(document, indent=1)
