"""Command line: python3 -m devcluster COMMAND."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence

from devcluster import binaries, preflight, tools
from devcluster.cluster import Cluster, Options
from devcluster.errors import DevclusterError
from devcluster.images.pipeline import Pipeline
from devcluster.images.specs import select
from devcluster.layout import MAX_NODES
from devcluster.paths import MAIN_CLUSTER, Paths, from_environment
from devcluster.pins import pin


def main(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(from_environment(), chosen)
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, grep -q) has seen enough; what Python flushes at its end must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="devcluster", description="A real Kubernetes on this machine.")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the cluster, or find it running")
    up.add_argument("--name", default=MAIN_CLUSTER, help="only a control plane can have a name of its own")
    up.add_argument("--nodes", type=int, default=2, help=f"1 to {MAX_NODES} (default 2)")
    up.add_argument("--fake-gpus", type=int, default=0, metavar="N", help="nvidia.com/gpu that each node claims")
    up.add_argument("--control-plane-only", action="store_true", help="etcd and API server on loopback, no nodes")
    up.add_argument("--with-controllers", action="store_true", help="add kube-controller-manager to a control plane")
    up.add_argument("--audit-log", action="store_true", help="write every request's metadata to audit.log in the state")
    up.add_argument("--kubernetes", default="", metavar="MINOR", help="another version for a control plane, like 1.34")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop it and remove every trace but the caches")
    down.add_argument("--name", default=MAIN_CLUSTER)
    down.set_defaults(run=_down)

    commands.add_parser("status", help="what runs, and where its logs are").set_defaults(run=_status)
    commands.add_parser("env", help="shell lines that set KUBECONFIG and PATH").set_defaults(run=_env)

    build = commands.add_parser("build", help="build the Go programs")
    build.add_argument("programs", nargs="*", metavar="PROGRAM")
    build.add_argument("--kubernetes", default="", metavar="MINOR", help="another version of the program kube")
    build.set_defaults(run=_build)

    pinning = commands.add_parser("pin", help="lock the modules of another version of Kubernetes, for tests")
    pinning.add_argument("version", help="like 1.36.3")
    pinning.set_defaults(run=_pin)

    images = commands.add_parser("images", help="build the project's images and bring them to the nodes")
    images.add_argument("names", nargs="*", metavar="NAME")
    images.add_argument("--registry", default="", metavar="HOST/PATH", help="push there instead, for another cluster")
    images.set_defaults(run=_images)

    commands.add_parser("preflight", help="check the machine, install missing packages").set_defaults(run=_preflight)

    tool = commands.add_parser("tools", help="path of a tool, installed when the machine has none that fits")
    tool.add_argument("tool", choices=["uv", "go"])
    tool.set_defaults(run=_tool)
    return made


def _cluster(paths: Paths, name: str) -> Cluster:
    return Cluster(paths, name, dict(os.environ))


def _up(paths: Paths, chosen: argparse.Namespace) -> None:
    options = up_options(chosen)
    started = time.monotonic()
    _cluster(paths, chosen.name).up(options)
    print(f"up after {time.monotonic() - started:.1f} s; kubeconfig: {paths.kubeconfig(chosen.name)}")


def up_options(chosen: argparse.Namespace) -> Options:
    """Raises DevclusterError for arguments that contradict each other."""
    if chosen.control_plane_only:
        if chosen.name == MAIN_CLUSTER:
            raise DevclusterError(f"a control plane needs a name of its own: --name NAME, not {MAIN_CLUSTER}")
        if chosen.fake_gpus:
            raise DevclusterError("--fake-gpus needs nodes; leave out --control-plane-only")
        return Options(0, 0, chosen.with_controllers, chosen.audit_log, chosen.kubernetes)
    if chosen.kubernetes:
        raise DevclusterError("--kubernetes goes with --control-plane-only; nodes run the usual version")
    if chosen.with_controllers:
        raise DevclusterError("--with-controllers goes with --control-plane-only; a full cluster always has them")
    if chosen.name != MAIN_CLUSTER:
        raise DevclusterError(f"there is one cluster with nodes, {MAIN_CLUSTER}; other names need --control-plane-only")
    if not 1 <= chosen.nodes <= MAX_NODES:
        raise DevclusterError(f"--nodes {chosen.nodes}: 1 to {MAX_NODES} nodes are possible")
    if chosen.fake_gpus < 0:
        raise DevclusterError(f"--fake-gpus {chosen.fake_gpus}: cannot be negative")
    return Options(nodes=chosen.nodes, fake_gpus=chosen.fake_gpus, audit_log=chosen.audit_log)


def _down(paths: Paths, chosen: argparse.Namespace) -> None:
    if chosen.name == MAIN_CLUSTER:
        preflight.check_root()
    _cluster(paths, chosen.name).down()
    print(f"{chosen.name} is down")


def _status(paths: Paths, _: argparse.Namespace) -> None:
    folder = paths.cache / "clusters"
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    for name in names or [MAIN_CLUSTER]:
        print("\n".join(_cluster(paths, name).describe()))


def _env(paths: Paths, _: argparse.Namespace) -> None:
    print(f"export KUBECONFIG={shlex.quote(str(paths.kubeconfig(MAIN_CLUSTER)))}")
    print(f'export PATH="{binaries.build(paths)}:$PATH"')


def _build(paths: Paths, chosen: argparse.Namespace) -> None:
    preflight.check_platform()
    print(binaries.build(paths, chosen.programs, chosen.kubernetes))


def _pin(paths: Paths, chosen: argparse.Namespace) -> None:
    print(pin(paths, chosen.version))


def _images(paths: Paths, chosen: argparse.Namespace) -> None:
    images = select(chosen.names)
    preflight.for_images()
    started = time.monotonic()
    pipeline = Pipeline(paths, dict(os.environ))
    if chosen.registry:
        references = pipeline.push(images, chosen.registry)
    else:
        references = pipeline.ensure(images)
        runners = _cluster(paths, MAIN_CLUSTER).running_nodes()
        pipeline.seed(references.values(), [runner.ctr() for runner in runners])
        print(f"{len(references)} images on {len(runners)} nodes after {time.monotonic() - started:.1f} s")
    for name, reference in sorted(references.items()):
        print(f"{name:10} {reference}")


def _preflight(paths: Paths, _: argparse.Namespace) -> None:
    preflight.for_cluster()
    print(f"go:  {tools.go(paths)}\nuv:  {tools.uv(paths)}\nthe machine has what the dev cluster needs")


def _tool(paths: Paths, chosen: argparse.Namespace) -> None:
    print({"uv": tools.uv, "go": tools.go}[chosen.tool](paths))
