"""`make bench-operator`: what the operator costs and how fast it is, row by row, against the budgets.

Each row starts a control plane of its own and takes at most eight minutes on two cores. With a peer there is one other
row: another operator, built from its modules, and then ours on the same machine, with the peer's figures as targets.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from bench.operator import growth, latency, life, peer, progress, restart
from bench.report import Measure, finish, package_versions, table
from devcluster.binaries import go_folder, module_version
from devcluster.paths import from_environment
from support.managers.programs import JOBSET, TRAINER

ROWS: dict[str, Callable[[], Coroutine[Any, Any, list[Measure]]]] = {
    "1000": life.thousand,
    "5000": life.five_thousand,
    "growth": growth.measures,
    "latency": latency.measures,
    "progress": progress.measures,
    "restart": restart.measures,
}


_PEER_JOBS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="only these (default: all)")
    parser.add_argument("--peer", choices=["trainer"], help="only the row that compares with this operator")
    parser.add_argument("--jobs", type=int, default=_PEER_JOBS, help="of the peer's row; others are not recorded")
    parser.add_argument("--shipped-limits", action="store_true", help="leave the peer's client limits; not recorded")
    parser.add_argument("--with-pods", action="store_true", help="the peer's Jobs have pods like ours; not recorded")
    arguments = parser.parse_args()
    if arguments.peer:
        return 0 if _peer(arguments) else 1
    met = [_row(name) for name in arguments.rows]
    return 0 if all(met) else 1


def _row(name: str) -> bool:
    measures = _measured(name, ROWS[name]())
    return bool(measures) and finish(f"operator-{name}", f"make bench-operator ROWS={name}", measures, _versions())


def _peer(arguments: argparse.Namespace) -> bool:
    name, jobs = arguments.peer, arguments.jobs
    changed = {"shipped_limits": arguments.shipped_limits, "with_pods": arguments.with_pods}
    measures = _measured(f"peer-{name}", peer.measures(jobs, **changed))
    if not measures:
        return False
    if jobs != _PEER_JOBS or any(changed.values()):
        print(table(measures))
        return all(measure.met for measure in measures)
    versions = {"JobSet": JOBSET.version, "Kubeflow Trainer": TRAINER.version} | _versions()
    return finish(f"operator-peer-{name}", f"make bench-operator PEER={name}", measures, versions)


def _measured(name: str, row: Coroutine[Any, Any, list[Measure]]) -> list[Measure]:
    """Empty when it did not end in time."""
    print(f"\n{name}", flush=True)
    try:
        return asyncio.run(row)
    except TimeoutError as error:
        print(f"{name}: not within its time limit {error}")
        return []


def _versions() -> dict[str, str]:
    modules = go_folder(from_environment()) / "go.mod"
    server = module_version(modules.read_text(), "k8s.io/kubernetes")
    packages = package_versions("kopf", "kubernetes", "aiohttp", "pydantic", "uvloop")
    return {"API server": server, "python": platform.python_version()} | packages


if __name__ == "__main__":
    sys.exit(main())
