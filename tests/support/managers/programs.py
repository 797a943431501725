"""The managers, built from pinned Go modules, and the manifests that those modules carry."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devcluster.binaries import Program, build, build_alone, module_version
from devcluster.paths import Paths
from devcluster.shell import run
from devcluster.tools import go

_GO = Path(__file__).resolve().parent / "go"


@dataclass(frozen=True)
class Manager:
    """A manager in a Go module.

    `manifests` are folders of the module for kustomize, `certificates` is the part of the manager's configuration
    that makes it issue its own; `metrics_certificates` is a folder below /etc in which it looks for another one,
    whatever its configuration says.
    """

    name: str
    module: str
    package: str
    namespace: str
    manifests: tuple[str, ...]
    certificates: str
    metrics_certificates: str = ""

    @property
    def module_file(self) -> Path:
        """go.mod of a module that requires nothing else, so that each has the versions its authors tested."""
        return _GO / self.name / "go.mod"

    @property
    def version(self) -> str:
        return module_version(self.module_file.read_text(), self.module)


JOBSET = Manager(
    name="jobset",
    module="sigs.k8s.io/jobset",
    package="sigs.k8s.io/jobset",
    namespace="jobset-system",
    manifests=("config/default",),
    certificates="internalCertManagement",
)
KUEUE = Manager(
    name="kueue",
    module="sigs.k8s.io/kueue",
    package="sigs.k8s.io/kueue/cmd/kueue",
    namespace="kueue-system",
    # its default adds an aggregated API, which an API server of this kind does not serve
    manifests=tuple(f"config/components/{part}" for part in ("crd", "rbac", "webhook", "manager")),
    certificates="internalCertManagement",
    metrics_certificates="kueue/metrics/certs",
)
TRAINER = Manager(
    name="trainer",
    module="github.com/kubeflow/trainer/v2",
    package="github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager",
    namespace="kubeflow-system",
    # its overlays would fetch JobSet from the network
    manifests=tuple(f"manifests/base/{part}" for part in ("crds", "rbac", "webhook", "manager")),
    certificates="certManagement",
)


def program(paths: Paths, manager: Manager) -> Path:
    """The manager, built when it is missing: minutes. Raises DevclusterError with the compiler's words."""
    return build_alone(paths, Program(manager.name, manager.package), manager.module_file)


def kubectl(paths: Paths) -> Path:
    """The kubectl of the dev cluster."""
    return build(paths, ["kube"]) / "kubectl"


def manifests(paths: Paths, manager: Manager) -> list[dict[str, Any]]:
    """What the module installs, as plain dicts. Raises DevclusterError when the module cannot be had."""
    environment = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    download: list[str | Path] = [go(paths), "mod", "download", "-json", manager.module]
    module = json.loads(run(download, cwd=manager.module_file.parent, env=environment))["Dir"]
    with tempfile.TemporaryDirectory() as folder:
        # kustomize takes no absolute paths
        resources = [os.path.relpath(Path(module) / part, Path(folder).resolve()) for part in manager.manifests]
        overlay = {"namespace": manager.namespace, "resources": resources}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        text = run([kubectl(paths), "kustomize", folder])
    # the CRDs are megabytes: the loader in Python takes most of a minute for them
    return [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]
