"""The cluster that the demo runs on: the one this repository starts, or the one KUBECONFIG points to."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from demo.shell import REPOSITORY, DemoError, Shell
from devcluster.paths import from_environment

# A fixed address in the dev cluster's service range: the link in a resource's status works from the first job on.
DEV_MLFLOW_ADDRESS = "10.96.0.50"


@dataclass(frozen=True)
class Target:
    """A reachable cluster with the images in place. `shared_class`: a StorageClass that many pods can write to."""

    shell: Shell
    images: dict[str, str]
    shared_class: str
    mlflow_address: str = ""

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow for a person on this machine; "" when only a port-forward reaches it."""
        return f"http://{self.mlflow_address}:5000" if self.mlflow_address else ""


def dev_environment() -> dict[str, str]:
    """KUBECONFIG and PATH of the dev cluster, as `python3 -m devcluster env` prints them."""
    text = subprocess.run(
        [sys.executable, "-m", "devcluster", "env"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    pairs = [line.removeprefix("export ").split("=", 1) for line in text.splitlines() if line.startswith("export ")]
    return {name: os.path.expandvars("".join(shlex.split(value))) for name, value in pairs}


def start_dev_cluster(nodes: int) -> Target:
    """Start (or find running) the dev cluster with all images. Raises DemoError when the driver fails.

    Programs and images are built side by side, because they wait for the network and the disk at different times.
    """
    driver = [sys.executable, "-m", "devcluster"]
    builds = {name: subprocess.Popen([*driver, name], cwd=REPOSITORY) for name in ("build", "images")}
    codes = {name: process.wait() for name, process in builds.items()}
    if not any(codes.values()):
        codes["up"] = subprocess.call([*driver, "up", "--nodes", str(nodes)], cwd=REPOSITORY)
    if failed := [name for name, code in codes.items() if code]:
        raise DemoError(f"`python3 -m devcluster {failed[0]}` failed: its own words are above")
    return running_dev_cluster()


def running_dev_cluster() -> Target:
    """The dev cluster as it runs now. Raises DemoError when its images were never built."""
    record = from_environment().images_file
    if not record.exists():
        raise DemoError("the images were never built: run `make images`")
    return Target(Shell(dev_environment()), json.loads(record.read_text()), "shared", DEV_MLFLOW_ADDRESS)


def current_cluster(registry: str) -> Target:
    """The cluster of KUBECONFIG, with images built here and pushed to `registry`. Raises DemoError."""
    if not registry:
        raise DemoError(
            "CLUSTER=current needs REGISTRY=host/path that this machine may push to and the cluster can pull from"
        )
    command = [sys.executable, "-m", "devcluster", "images", "--registry", registry]
    if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
        raise DemoError(f"the images could not be pushed to {registry}: the reason is above")
    images: dict[str, str] = json.loads((from_environment().cache / "images-pushed.json").read_text())
    shared = os.environ.get("STORAGE_CLASS", "")
    if not shared:
        raise DemoError(
            "CLUSTER=current needs STORAGE_CLASS=<a StorageClass with ReadWriteMany>: two training pods share a volume"
        )
    return Target(_with_programs(), images, shared)


def reached_cluster() -> Target:
    """The cluster of KUBECONFIG as a demo left it, for commands that need no images."""
    return Target(_with_programs(), {}, "")


def _with_programs() -> Shell:
    """A shell for the cluster of KUBECONFIG that finds kubectl and helm, which the machine need not have."""
    return Shell({"PATH": dev_environment()["PATH"]})


def kubeconfig_of(target: Target) -> Path:
    """The kubeconfig file in use."""
    return Path(
        target.shell.environment.get("KUBECONFIG") or os.environ.get("KUBECONFIG") or Path.home() / ".kube/config"
    )
