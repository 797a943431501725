"""Starting, stopping and looking at clusters."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devcluster import binaries, cgroups, host_network, owner, preflight
from devcluster.component_args import Endpoints
from devcluster.control_plane import ControlPlane, loopback_endpoints, main_endpoints
from devcluster.errors import DevclusterError
from devcluster.images.pipeline import Pipeline
from devcluster.images.specs import INFRASTRUCTURE
from devcluster.kube_client import condition
from devcluster.layout import API_ADDRESS, IMAGE_PORT, Node, NodeFolders, cgroup_prefix, nodes
from devcluster.lock import exclusive
from devcluster.node import NodeRunner
from devcluster.paths import MAIN_CLUSTER, Paths
from devcluster.processes import ProcessTable, alive
from devcluster.shell import run, wait_until

_STATE = "cluster.json"
_IMAGE_SERVER = "image-server"


@dataclass(frozen=True)
class Options:
    """How a cluster was started. `nodes` 0: control plane only; `kubernetes` "": the usual version."""

    nodes: int = 2
    fake_gpus: int = 0
    with_controllers: bool = True
    audit_log: bool = False
    kubernetes: str = ""


@dataclass(frozen=True)
class State:
    options: Options
    endpoints: Endpoints
    binaries: str


class Cluster:
    def __init__(self, paths: Paths, name: str, environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._name = name
        self._folder = paths.cluster(name)
        self._table = ProcessTable(self._folder / "processes", self._folder / "log")
        self._pipeline = Pipeline(paths, environment)

    def up(self, options: Options) -> None:
        """Start, or find running and healthy. What was started once and is broken now (a reboot, a crash) is started
        again with its data, as a machine that was switched off."""
        with self._lock():
            known = self.state()
            if known is None:
                self._clean()
            else:
                self._check_same(known, options)
                if self.healthy(known):
                    self._adjust(known, options)
                    print(f"cluster {self._name} is running")
                    return
                print(f"cluster {self._name} is broken: starting it again with its data", flush=True)
                self._release()
            try:
                self._start(options, known)
            except BaseException:
                # The folder stays for its logs; the next `up` or `down` removes it.
                self._release()
                raise

    def down(self) -> None:
        """End every process, remove every link, rule, group and file of the cluster. Image layers stay in the cache."""
        with self._lock():
            self._clean()

    def state(self) -> State | None:
        file = self._folder / _STATE
        if not file.exists():
            return None
        content = json.loads(file.read_text())
        return State(Options(**content["options"]), Endpoints(**content["endpoints"]), content["binaries"])

    def healthy(self, state: State) -> bool:
        return all(alive(process) for process in self._table.all()) and self.plane(state).client().ready()

    def plane(self, state: State) -> ControlPlane:
        return ControlPlane(self._folder, Path(state.binaries), self._table, state.endpoints)

    def node_runners(self, state: State) -> list[NodeRunner]:
        return [self._runner(node) for node in nodes(state.options.nodes)]

    def running_nodes(self) -> list[NodeRunner]:
        """Nodes that can take images now; none when the cluster is down."""
        state = self.state()
        return self.node_runners(state) if state is not None and self.healthy(state) else []

    def describe(self) -> list[str]:
        """Lines for `status`."""
        state = self.state()
        if state is None:
            return [f"{self._name}: down"]
        lines = [f"{self._name}: {'healthy' if self.healthy(state) else 'broken'}  {state.endpoints.server}"]
        lines += [
            f"  {process.name:24} pid {process.pid:<8} {'running' if alive(process) else 'ENDED'}"
            for process in self._table.all()
        ]
        lines.append(f"  kubeconfig {self._paths.kubeconfig(self._name)}")
        lines.append(f"  logs       {self._folder / 'log'}")
        return lines

    def _start(self, options: Options, earlier: State | None) -> None:
        if options.nodes:
            preflight.for_cluster()
        else:
            preflight.for_control_plane()
        programs = binaries.build(self._paths, kubernetes=options.kubernetes)
        if earlier is not None:
            endpoints = earlier.endpoints  # certificates and kubeconfigs name them
        else:
            endpoints = main_endpoints() if options.nodes else loopback_endpoints()
        state = State(options, endpoints, str(programs))
        self._folder.mkdir(parents=True, exist_ok=True)
        plane = self.plane(state)
        if options.nodes:
            self._start_with_nodes(plane, state)
        else:
            plane.prepare()
            plane.start(audit_log=options.audit_log, on_loopback=True)
            plane.wait_ready()
            if options.with_controllers:
                plane.start_controller_manager()
        self._write(state)

    def _start_with_nodes(self, plane: ControlPlane, state: State) -> None:
        """Nodes boot and take their images while the API server starts."""
        images = self._pipeline.ensure(INFRASTRUCTURE)
        owner.claim(self._folder)
        host_network.make_api_link()
        server = Path(__file__).parent / "images" / "server.py"
        self._table.start(
            _IMAGE_SERVER, [sys.executable, server, API_ADDRESS, str(IMAGE_PORT), self._paths.served_images]
        )
        plane.prepare()
        plane.start(audit_log=state.options.audit_log, on_loopback=False)
        runners = self.node_runners(state)
        with ThreadPoolExecutor() as pool:
            booted = [pool.submit(self._boot, runner, images["pause"]) for runner in runners]
            plane.wait_ready()
            plane.start_controller_manager()
            plane.start_scheduler()
            self._apply(plane, "rbac.yaml", {})
            plane.start_provisioner(self._folder / "volumes")
            for each in booted:
                each.result()
        for runner in runners:
            runner.start_agents(plane)
        self._apply(plane, "storage.yaml", {})
        self._apply(plane, "coredns.yaml", {"COREDNS_IMAGE": images["coredns"]})
        self._wait_for_nodes(plane, runners)
        if state.options.fake_gpus:
            self._set_fake_gpus(plane, runners, state.options.fake_gpus)
        run([*self._kubectl(plane), "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"])

    def _boot(self, runner: NodeRunner, pause_image: str) -> None:
        runner.boot(carries_services=runner.node.index == 1)
        runner.start_containerd(pause_image)
        self._pipeline.seed(self._pipeline.current().values(), [runner.ctr()])

    def _runner(self, node: Node) -> NodeRunner:
        folders = NodeFolders(self._folder / node.name, self._paths.node_images / node.name)
        return NodeRunner(node, folders, self._table)

    def _kubectl(self, plane: ControlPlane) -> list[str]:
        return [str(plane.binaries / "kubectl"), "--kubeconfig", str(plane.kubeconfig("admin"))]

    def _apply(self, plane: ControlPlane, manifest: str, values: Mapping[str, str]) -> None:
        text = (Path(__file__).parent / "manifests" / manifest).read_text()
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
        run([*self._kubectl(plane), "apply", "--server-side", "-f", "-"], stdin=text)

    def _wait_for_nodes(self, plane: ControlPlane, runners: list[NodeRunner]) -> None:
        client = plane.client()

        def ready() -> bool:
            found = {node["metadata"]["name"]: node for node in client.get("/api/v1/nodes")["items"]}
            names = [runner.node.name for runner in runners]
            return all(name in found and condition(found[name], "Ready") for name in names)

        wait_until("nodes Ready", ready, timeout=90, advice=f"see {self._folder / 'log'}/node-1-kubelet.log")

    def _set_fake_gpus(self, plane: ControlPlane, runners: list[NodeRunner], count: int) -> None:
        """The scheduler and the kubelet count them like real ones; containers get no device."""
        client = plane.client()
        for runner in runners:
            for place in ("capacity", "allocatable"):
                operation = {"op": "add", "path": f"/status/{place}/nvidia.com~1gpu", "value": str(count)}
                client.patch_status(f"/api/v1/nodes/{runner.node.name}", [operation])

    def _check_same(self, known: State, wanted: Options) -> None:
        """Only the number of fake GPUs can change while a cluster exists."""
        had, want = (asdict(replace(options, fake_gpus=0)) for options in (known.options, wanted))
        if had != want:
            changes = ", ".join(f"{name} is {had[name]}, not {want[name]}" for name in had if had[name] != want[name])
            down = "python3 -m devcluster down" + ("" if self._name == MAIN_CLUSTER else f" --name {self._name}")
            raise DevclusterError(f"cluster {self._name} exists, but {changes}; remove it first: `{down}`")

    def _adjust(self, running: State, options: Options) -> None:
        if options.fake_gpus != running.options.fake_gpus:
            self._set_fake_gpus(self.plane(running), self.node_runners(running), options.fake_gpus)
            self._write(replace(running, options=options))

    def _write(self, state: State) -> None:
        (self._folder / _STATE).write_text(json.dumps(asdict(state), indent=1))

    def _clean(self) -> None:
        self._release()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _release(self) -> None:
        """Give everything back to the machine but files."""
        self._stop_processes()
        if self._name == MAIN_CLUSTER:
            owner.check(self._folder)
            host_network.remove_all()
            cgroups.remove_all(cgroup_prefix(self._folder))
            owner.release(self._folder)

    def _stop_processes(self) -> None:
        """First what makes a node, which takes everything in it along; then the components, etcd last."""
        processes = self._table.all()
        inits = [process for process in processes if process.name.endswith(("-init", "-outer"))]
        self._table.kill(inits)
        inside = [process for process in processes if process.name.startswith("node-") and process not in inits]
        self._table.kill(inside)
        rest = [process for process in processes if process not in inits and process not in inside]
        self._table.stop([process for process in rest if process.name != "etcd"], grace=5)
        self._table.stop([process for process in rest if process.name == "etcd"], grace=5)

    def _lock(self) -> AbstractContextManager[None]:
        lock = self._paths.cache / "locks" / f"cluster-{self._name}"
        return exclusive(lock, f"another command works on {self._name}")
