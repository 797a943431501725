"""Command lines of the control plane's components and of the node agents. Nothing here touches the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devcluster.layout import POD_RANGE, SERVICE_RANGE, Node
from devcluster.pki import Pki

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Endpoints:
    """Where one control plane listens. Ports of etcd are on loopback."""

    api_address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        return f"https://{self.api_address}:{self.api_port}"


def flags(values: dict[str, str | Path | int]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def etcd(folder: Path, pki: Pki, at: Endpoints) -> list[str]:
    """Data of a throw-away cluster need not survive a power cut: no fsync."""
    client, peer = f"https://127.0.0.1:{at.etcd_port}", f"https://127.0.0.1:{at.etcd_peer_port}"
    values: dict[str, str | Path | int] = {
        "data-dir": folder,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    for prefix in ("", "peer-"):
        values |= {
            f"{prefix}client-cert-auth": "true",
            f"{prefix}trusted-ca-file": pki.certificate("etcd-ca"),
            f"{prefix}cert-file": pki.certificate("etcd"),
            f"{prefix}key-file": pki.key("etcd"),
        }
    return flags(values)


def api_server(pki: Pki, at: Endpoints, *, audit: tuple[Path, Path] | None, on_loopback: bool) -> list[str]:
    """`audit` is (policy file, log file). An address on loopback cannot be an endpoint of the service `kubernetes`."""
    values: dict[str, str | Path | int] = {
        "etcd-servers": f"https://127.0.0.1:{at.etcd_port}",
        "etcd-cafile": pki.certificate("etcd-ca"),
        "etcd-certfile": pki.certificate("etcd-client"),
        "etcd-keyfile": pki.key("etcd-client"),
        "bind-address": at.api_address,
        "advertise-address": at.api_address,
        "secure-port": at.api_port,
        "tls-cert-file": pki.certificate("apiserver"),
        "tls-private-key-file": pki.key("apiserver"),
        "client-ca-file": pki.certificate("ca"),
        "anonymous-auth": "false",
        "authorization-mode": "Node,RBAC",
        # the second is off on most clusters; what works with it works without
        "enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement",
        "kubelet-client-certificate": pki.certificate("kubelet-client"),
        "kubelet-client-key": pki.key("kubelet-client"),
        "kubelet-certificate-authority": pki.certificate("ca"),
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": pki.certificate("front-proxy-ca"),
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki.certificate("front-proxy-client"),
        "proxy-client-key-file": pki.key("front-proxy-client"),
        "service-account-issuer": ISSUER,
        "service-account-key-file": pki.service_account_public_key,
        "service-account-signing-key-file": pki.key("service-accounts"),
        "service-cluster-ip-range": SERVICE_RANGE,
        "allow-privileged": "true",
        "shutdown-delay-duration": "0s",
    }
    if on_loopback:
        values["endpoint-reconciler-type"] = "none"
    if audit:
        values |= {"audit-policy-file": audit[0], "audit-log-path": audit[1]}
    return flags(values)


def controller_manager(pki: Pki, kubeconfig: Path) -> list[str]:
    """Pod ranges are fixed per node, so none are allocated. The default client limit makes garbage collection crawl."""
    return flags({
        "kubeconfig": kubeconfig,
        "leader-elect": "false",
        "secure-port": 0,
        "service-account-private-key-file": pki.key("service-accounts"),
        "root-ca-file": pki.certificate("ca"),
        "use-service-account-credentials": "true",
        "cluster-signing-cert-file": pki.certificate("ca"),
        "cluster-signing-key-file": pki.key("ca"),
        "cluster-cidr": POD_RANGE,
        "allocate-node-cidrs": "false",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "16s",
    })  # fmt: skip


def scheduler(kubeconfig: Path) -> list[str]:
    return flags({
        "kubeconfig": kubeconfig, "leader-elect": "false", "secure-port": 0, "kube-api-qps": 200, "kube-api-burst": 400,
    })  # fmt: skip


def kubelet(node: Node, *, config: Path, kubeconfig: Path, folder: Path) -> list[str]:
    return flags({
        "config": config, "kubeconfig": kubeconfig, "root-dir": folder, "hostname-override": node.name,
        "node-ip": node.address,
    })  # fmt: skip


def proxy(node: Node, kubeconfig: Path) -> list[str]:
    """cluster-cidr makes traffic from the host to Services return the way it came."""
    return flags({
        "kubeconfig": kubeconfig, "hostname-override": node.name, "cluster-cidr": POD_RANGE, "proxy-mode": "iptables",
        "conntrack-max-per-core": 0,
    })  # fmt: skip


def provisioner(kubeconfig: Path, folder: Path) -> list[str]:
    return flags({"kubeconfig": kubeconfig, "folder": folder})
