"""A control group per node, so that the kubelets of one machine do not remove each other's pods."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from devcluster.shell import wait_until

ROOT = Path("/sys/fs/cgroup")
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def is_v2(root: Path = ROOT) -> bool:
    return (root / "cgroup.controllers").is_file()


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The folders in which a group must be made: the one tree of version 2, or every controller of version 1."""
    if is_v2(root):
        return [root]
    trees = {entry.resolve() for entry in root.iterdir() if (entry / "cgroup.procs").exists()}
    return sorted(tree for tree in trees if not is_v2(tree))


def create(name: str, root: Path = ROOT) -> None:
    if is_v2(root):
        available = (root / "cgroup.controllers").read_text().split()
        wanted = [controller for controller in _V2_CONTROLLERS if controller in available]
        (root / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in wanted))
        (root / name).mkdir(exist_ok=True)
        (root / name / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in wanted))
        return
    for folder in hierarchies(root):
        (folder / name).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A new group of version 1 has no cores and no memory nodes, and then takes no process.
            if (folder / setting).exists():
                (folder / name / setting).write_text((folder / setting).read_text())


def starting_with(prefix: str, root: Path = ROOT) -> list[Path]:
    """The groups whose names begin so, also those that containers left in the unified tree beside version 1."""
    trees = [root] if is_v2(root) else sorted({entry.resolve() for entry in root.iterdir()})
    return sorted(folder for tree in trees for folder in tree.glob(f"{prefix}*"))


def remove_all(prefix: str, root: Path = ROOT) -> None:
    """Kill what still runs in the groups of these names and remove them."""

    def removed() -> bool:
        for group in starting_with(prefix, root):
            _remove(group)
        return not starting_with(prefix, root)

    wait_until("control groups removed", removed, timeout=20)


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        _thaw(Path(folder))
        with contextlib.suppress(OSError):
            for pid in (Path(folder) / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _thaw(folder: Path) -> None:
    """A frozen process does not die before it is thawed."""
    for setting, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        with contextlib.suppress(OSError):
            if (folder / setting).exists():
                (folder / setting).write_text(value)
