"""Which state folder the links and rules of this machine's cluster belong to: two cannot have the same addresses."""

from __future__ import annotations

from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.processes import ProcessTable, alive

MARK = Path("/run/devcluster-owner")


def check(cluster: Path, mark: Path = MARK) -> None:
    """Raises DevclusterError when the cluster of another state folder runs; a dead one is no obstacle."""
    other = Path(mark.read_text().strip()) if mark.exists() else cluster
    if other == cluster:
        return
    if any(alive(process) for process in ProcessTable(other / "processes", other / "log").all()):
        cache = other.parent.parent
        raise DevclusterError(
            f"a dev cluster with its state in {other} runs on this machine, and there can be one; "
            f"stop it first: CACHE_DIR={cache} python3 -m devcluster down"
        )


def claim(cluster: Path, mark: Path = MARK) -> None:
    mark.write_text(f"{cluster}\n")


def release(cluster: Path, mark: Path = MARK) -> None:
    if mark.exists() and mark.read_text().strip() == str(cluster):
        mark.unlink()
