"""etcd, the API server and, on request, the controllers of one cluster."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from devcluster import component_args
from devcluster.component_args import Endpoints
from devcluster.errors import DevclusterError
from devcluster.kube_client import KubeClient
from devcluster.layout import API_ADDRESS, API_PORT
from devcluster.node_config import kubeconfig
from devcluster.pki import Pki, control_plane_certificates
from devcluster.processes import ProcessTable, alive
from devcluster.shell import wait_until

AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""
CONTROLLER_MANAGER = "kube-controller-manager"


@dataclass(frozen=True)
class ControlPlane:
    """`folder` is the cluster's state, `binaries` holds the component links."""

    folder: Path
    binaries: Path
    table: ProcessTable
    endpoints: Endpoints

    @property
    def pki(self) -> Pki:
        return Pki(self.folder / "pki")

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"

    def client(self) -> KubeClient:
        pki = self.pki
        return KubeClient(self.endpoints.server, pki.certificate("ca"), pki.certificate("admin"), pki.key("admin"))

    def prepare(self) -> None:
        """Certificates and kubeconfigs; those of an earlier start are kept."""
        if self.kubeconfig("provisioner").exists():
            return
        self.pki.make_authorities()
        for certificate in control_plane_certificates(self.endpoints.api_address):
            self.pki.issue(certificate)
        for name in ("admin", "controller-manager", "scheduler", "proxy", "provisioner"):
            self.write_kubeconfig(name)

    def write_kubeconfig(self, name: str) -> Path:
        path = self.kubeconfig(name)
        path.touch(mode=0o600)
        pki = self.pki
        path.write_text(kubeconfig(self.endpoints.server, pki.certificate("ca"), pki.certificate(name), pki.key(name)))
        return path

    def start(self, *, audit_log: bool, on_loopback: bool) -> None:
        pki = self.pki
        etcd = component_args.etcd(self.folder / "etcd", pki, self.endpoints)
        self.table.start("etcd", [self.binaries / "etcd", *etcd])
        audit = self._audit_files() if audit_log else None
        arguments = component_args.api_server(pki, self.endpoints, audit=audit, on_loopback=on_loopback)
        self.table.start("kube-apiserver", [self.binaries / "kube-apiserver", *arguments])

    def wait_ready(self, timeout: float = 90) -> None:
        client = self.client()

        def ready() -> bool:
            for name in ("etcd", "kube-apiserver"):
                process = self.table.get(name)
                if process is None or not alive(process):
                    raise DevclusterError(f"{name} ended: see {self.table.log(name)}")
            return client.ready()

        wait_until("API server ready", ready, timeout=timeout, advice=f"see {self.table.log('kube-apiserver')}")

    def start_controller_manager(self) -> None:
        arguments = component_args.controller_manager(self.pki, self.kubeconfig("controller-manager"))
        self.table.start(CONTROLLER_MANAGER, [self.binaries / CONTROLLER_MANAGER, *arguments])

    def start_scheduler(self) -> None:
        arguments = component_args.scheduler(self.kubeconfig("scheduler"))
        self.table.start("kube-scheduler", [self.binaries / "kube-scheduler", *arguments])

    def start_provisioner(self, volumes: Path) -> None:
        arguments = component_args.provisioner(self.kubeconfig("provisioner"), volumes)
        self.table.start("provisioner", [self.binaries / "provisioner", *arguments])

    def _audit_files(self) -> tuple[Path, Path]:
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(AUDIT_POLICY)
        return policy, self.folder / "audit.log"


def main_endpoints() -> Endpoints:
    etcd, peer = free_ports(2)
    return Endpoints(API_ADDRESS, API_PORT, etcd, peer)


def loopback_endpoints() -> Endpoints:
    return Endpoints("127.0.0.1", *free_ports(3))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that were free a moment ago. All are held until all are known, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
