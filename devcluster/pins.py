"""Other versions of Kubernetes than the usual one: the same program over another set of locked modules."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from devcluster.binaries import PROGRAMS, go_folder
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.shell import run
from devcluster.tools import go


def pin(paths: Paths, version: str) -> Path:
    """Write go/kubernetes/MINOR.mod and .sum for a version like 1.36.3; returns the former. Needs the module proxy."""
    if not re.fullmatch(r"1\.\d+\.\d+", version):
        raise DevclusterError(f"version {version!r}: write major, minor and patch, like 1.36.3")
    target = go_folder(paths) / "kubernetes" / f"{version.rpartition('.')[0]}.mod"
    package = PROGRAMS[0].package
    with tempfile.TemporaryDirectory() as folder:
        # only the one program, so that nothing else has a say in the versions
        shutil.copytree(go_folder(paths) / package, Path(folder) / package)
        module = Path(folder) / "go.mod"
        module.write_text(go_mod((go_folder(paths) / "go.mod").read_text(), _upstream(paths, version), version))
        run([go(paths), "mod", "tidy"], cwd=Path(folder), env={"GOTOOLCHAIN": "local"})
        target.parent.mkdir(exist_ok=True)
        for suffix in (".mod", ".sum"):
            shutil.copy(module.with_suffix(suffix), target.with_suffix(suffix))
    return target


def go_mod(own: str, upstream: str, version: str) -> str:
    """A module file that requires this version, with the staging modules that upstream's file replaces by folders."""
    staging = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", upstream, re.MULTILINE)
    replaced = "".join(f"\t{name} => {name} v0.{version.removeprefix('1.')}\n" for name in staging)
    go_line = next(line for line in own.splitlines() if line.startswith("go "))
    return f"module devcluster\n\n{go_line}\n\nrequire k8s.io/kubernetes v{version}\n\nreplace (\n{replaced})\n"


def _upstream(paths: Paths, version: str) -> str:
    answer = run(
        [go(paths), "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"], cwd=Path(tempfile.gettempdir())
    )
    return Path(json.loads(answer)["GoMod"]).read_text()
