"""The Go programs of the cluster, built from pinned modules into a folder named by what they were built from."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.lock import exclusive
from devcluster.paths import Paths
from devcluster.shell import run
from devcluster.tools import go

KUBE_LINKS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl",
)  # fmt: skip
_HELM = "helm.sh/helm/v3/cmd/helm"
_KUBERNETES = "k8s.io/kubernetes"


@dataclass(frozen=True)
class Program:
    """`package` is what `go build` gets; `links` are further names of the same file."""

    name: str
    package: str
    links: tuple[str, ...] = ()


PROGRAMS = (
    Program("kube", "./cmd/kube", KUBE_LINKS),
    Program("coredns", "./cmd/coredns"),
    Program("provisioner", "./cmd/provisioner"),
    Program("helm", _HELM),
)


def go_folder(paths: Paths) -> Path:
    return paths.repository / "devcluster" / "go"


def module_version(go_mod: str, module: str) -> str:
    """Version of a module that go.mod requires. Raises DevclusterError when it is not in there."""
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if not match:
        raise DevclusterError(f"go.mod does not require {module}")
    return match[1]


def kubernetes_versions(folder: Path) -> dict[str, Path]:
    """Module file by minor version of Kubernetes ("1.37"): the usual one, and others for tests."""
    own = ".".join(module_version((folder / "go.mod").read_text(), _KUBERNETES).removeprefix("v").split(".")[:2])
    return {file.stem: file for file in sorted((folder / "kubernetes").glob("*.mod"))} | {own: folder / "go.mod"}


def module_file(folder: Path, kubernetes: str) -> Path:
    """The module file of a minor version, "" for the usual one. Raises DevclusterError for one that is not pinned."""
    known = kubernetes_versions(folder)
    if kubernetes and kubernetes not in known:
        raise DevclusterError(f"Kubernetes {kubernetes} is not pinned; there are {', '.join(sorted(known))}")
    return known[kubernetes] if kubernetes else folder / "go.mod"


def key(folder: Path, program: Program, module: Path | None = None) -> str:
    """Changes with the locked modules, the program's own source and the machine's architecture."""
    module = module or folder / "go.mod"
    digest = hashlib.sha256(platform.machine().encode())
    own = folder / program.package.removeprefix("./")
    sources = sorted(own.glob("*.go")) if program.package.startswith("./") else []
    for file in (module, module.with_suffix(".sum"), *sources):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def linker_flags(go_mod: str) -> str:
    """Names the upstream versions, which the programs report; only strips modules that do not build Kubernetes."""
    if not re.search(rf"^\s*{re.escape(_KUBERNETES)} v\S+$", go_mod, re.MULTILINE):
        return "-s -w"
    kube = module_version(go_mod, _KUBERNETES)
    major, minor, _ = kube.removeprefix("v").split(".")
    values = {"gitVersion": kube, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    named = [f"-X {package}.{name}={value}" for package in packages for name, value in values.items()]
    if "helm.sh/helm/v3 " in go_mod:
        named.append(f"-X helm.sh/helm/v3/internal/version.version={module_version(go_mod, 'helm.sh/helm/v3')}")
    return " ".join(["-s", "-w", *named])


def build(paths: Paths, names: list[str] | None = None, kubernetes: str = "") -> Path:
    """Build what is missing of `names` (default: all) and return the folder with links to the current programs.

    With a minor version of Kubernetes other than the usual one there is one program, `kube`.
    """
    module = module_file(go_folder(paths), kubernetes)
    programs = PROGRAMS if module.name == "go.mod" else PROGRAMS[:1]
    unknown = sorted(set(names or []) - {program.name for program in programs})
    if unknown:
        known = ", ".join(program.name for program in programs)
        raise DevclusterError(f"no such program: {', '.join(unknown)}; there are {known}")
    wanted = [program for program in programs if not names or program.name in names]
    _ensure(paths, wanted, module, kubernetes)
    return _link(paths, programs, module)


def build_alone(paths: Paths, program: Program, module: Path) -> Path:
    """Build a program of another module file, like those of the benches, if it is missing; returns the program."""
    _ensure(paths, [program], module)
    return _target(paths, program, module)


def _ensure(paths: Paths, programs: list[Program], module: Path, label: str = "") -> None:
    if all(_target(paths, program, module).exists() for program in programs):
        return
    with exclusive(paths.cache / "locks" / "binaries", "another command builds the Go programs"):
        for program in programs:
            if not _target(paths, program, module).exists():
                print(f"building {program.name}{label and ' ' + label} (minutes the first time)", flush=True)
                _build(paths, program, module)


def _build(paths: Paths, program: Program, module: Path) -> None:
    folder, target = _source(paths, module), _target(paths, program, module)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    flags = linker_flags(module.read_text())
    env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOTOOLCHAIN": "local"}
    command: list[str | Path] = [
        go(paths),
        "build",
        f"-modfile={module}",
        "-ldflags",
        flags,
        "-o",
        unfinished,
        program.package,
    ]
    run(command, cwd=folder, env=env)
    unfinished.rename(target)


def _target(paths: Paths, program: Program, module: Path) -> Path:
    return paths.binaries / f"{program.name}-{key(_source(paths, module), program, module)}" / program.name


def _source(paths: Paths, module: Path) -> Path:
    """The folder with the programs' own code: module files of other versions lie beside the usual one."""
    return go_folder(paths) if go_folder(paths) in module.parents else module.parent


def _link(paths: Paths, programs: tuple[Program, ...], module: Path) -> Path:
    """One folder per set of programs: a running cluster keeps the files that it was started with."""
    targets = [(program, _target(paths, program, module)) for program in programs]
    built = [(program, target) for program, target in targets if target.exists()]
    version = hashlib.sha256("".join(str(target) for _, target in built).encode()).hexdigest()[:16]
    folder = paths.binaries / version
    if folder.exists():
        return folder
    unfinished = paths.binaries / f"{version}.{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for program, target in built:
        for name in program.links or (program.name,):
            (unfinished / name).symlink_to(target)
    unfinished.rename(folder)
    return folder
