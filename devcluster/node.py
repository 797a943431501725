"""One node: an init process in namespaces of its own (network, mounts, processes), in it containerd, kubelet, proxy.

When the init process dies, the kernel ends everything in the node: containers, mounts, links. Nothing can be left.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster import cgroups, component_args, host_network, node_config
from devcluster.control_plane import ControlPlane
from devcluster.errors import DevclusterError
from devcluster.layout import Node, NodeFolders
from devcluster.pki import node_certificates
from devcluster.processes import Process, ProcessTable, alive, children, describe
from devcluster.shell import run, succeeds, wait_until

# Mounts made later on the host stay visible in the node; what the node mounts stays in the node. A private /run keeps
# sockets and pinned namespaces of containers apart from the host's and from the other nodes'.
_INIT = """
mount --make-rshared / && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/lock && exec catatonit -P
"""
IMAGE_NAMESPACE = "k8s.io"


@dataclass(frozen=True)
class NodeRunner:
    node: Node
    folders: NodeFolders
    table: ProcessTable

    @property
    def init_name(self) -> str:
        return f"{self.node.name}-init"

    def init(self) -> Process:
        process = self.table.get(self.init_name)
        if process is None or not alive(process):
            raise DevclusterError(f"{self.node.name} does not run; start the cluster with `python3 -m devcluster up`")
        return process

    def boot(self, *, carries_services: bool) -> None:
        """Namespaces, link and control group; no agent yet."""
        cgroups.create(self.folders.cgroup)
        if self.folders.addresses.exists():
            # Leases of pods that ended with the last boot; they would use up the range.
            shutil.rmtree(self.folders.addresses)
        for folder in (self.folders.kubelet, self.folders.pod_logs, self.folders.cni, self.folders.containerd):
            folder.mkdir(parents=True, exist_ok=True)
        outer = self.table.start(
            f"{self.node.name}-outer",
            ["unshare", "--net", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", _INIT],
        )  # fmt: skip
        init = self._wait_for_init(outer)
        self.table.record(Process(self.init_name, init.pid, init.started))
        host_network.connect_node(self.node, init.pid, carries_services=carries_services)
        run([*self.enter(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])

    def enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.init().pid), "--net", "--mount", "--pid"]

    def ctr(self) -> list[str]:
        return [*self.enter(), "ctr", "--address", node_config.CONTAINERD_SOCKET, "--namespace", IMAGE_NAMESPACE]

    def start_containerd(self, pause_image: str) -> None:
        if (self.folders.containerd / "io.containerd.metadata.v1.bolt").exists():
            self._forget_old_containers(pause_image)
        registry = node_config.registry_folder(self.folders)
        registry.mkdir(parents=True, exist_ok=True)
        (registry / "hosts.toml").write_text(node_config.registry_hosts())
        (self.folders.cni / "10-pods.conflist").write_text(node_config.pod_network(self.node, self.folders))
        self._run_containerd("containerd", node_config.containerd(self.folders, pause_image))

    def start_agents(self, plane: ControlPlane) -> None:
        """kubelet and proxy; needs containerd and an API server."""
        pki, name = plane.pki, self.node.name
        for certificate in node_certificates(name, self.node.address):
            pki.issue(certificate)
        config = self.folders.state / "kubelet.json"
        config.write_text(
            node_config.kubelet(
                self.node,
                self.folders,
                authority=pki.certificate("ca"),
                certificate=pki.certificate(f"{name}-serving"),
                key=pki.key(f"{name}-serving"),
            )
        )
        kubelet = component_args.kubelet(
            self.node, config=config, kubeconfig=plane.write_kubeconfig(name), folder=self.folders.kubelet
        )
        self._start("kubelet", [plane.binaries / "kubelet", *kubelet])
        proxy = component_args.proxy(self.node, plane.kubeconfig("proxy"))
        self._start("proxy", [plane.binaries / "kube-proxy", *proxy])

    def _wait_for_init(self, outer: Process) -> Process:
        found: list[Process] = []

        def ready() -> bool:
            if not alive(outer):
                raise DevclusterError(f"{self.node.name} did not start: see {self.table.log(outer.name)}")
            for pid in children(outer.pid):
                init = describe(self.init_name, pid)
                if init and Path(f"/proc/{pid}/comm").read_text().strip() == "catatonit":
                    found.append(init)
            return bool(found)

        wait_until(f"{self.node.name} booted", ready, timeout=20, interval=0.01)
        return found[0]

    def _start(self, agent: str, command: list[str | Path]) -> Process:
        """Record the agent itself, not the nsenter that waits for it."""
        name = f"{self.node.name}-{agent}"
        outer = self.table.start(name, [*self.enter(), *command])
        inner: list[int] = []

        def ready() -> bool:
            if not alive(outer):
                raise DevclusterError(f"{name} ended at once: see {self.table.log(name)}")
            inner.extend(children(outer.pid))
            return bool(inner)

        wait_until(f"{name} started", ready, timeout=10, interval=0.01)
        process = describe(name, inner[0])
        if process is None:
            raise DevclusterError(f"{name} ended at once: see {self.table.log(name)}")
        self.table.record(process)
        return process

    def _run_containerd(self, agent: str, config: str) -> Process:
        path = self.folders.state / f"{agent}.toml"
        path.write_text(config)
        process = self._start(agent, ["containerd", "--config", path])
        wait_until(
            f"{process.name} answers", lambda: succeeds([*self.ctr(), "version"]), timeout=30,
            advice=f"see {self.table.log(process.name)}",
        )  # fmt: skip
        return process

    def _forget_old_containers(self, pause_image: str) -> None:
        """Layers stay from the last cluster, containers must not: its pods are gone, and with the Kubernetes plugin on
        containerd and kubelet would spend the first seconds on tearing them down."""
        config = node_config.containerd(self.folders, pause_image, with_kubernetes=False)
        process = self._run_containerd("containerd-cleanup", config)
        containers = run([*self.ctr(), "containers", "list", "--quiet"]).split()
        if containers:
            run([*self.ctr(), "containers", "delete", *containers])
        self.table.stop([process], grace=10)
