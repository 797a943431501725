"""`make bench-operator`: what the operator costs and how fast it is, row by row, against the budgets.

Each row starts a control plane of its own and takes at most eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable

from bench.operator import growth, latency, life, progress, restart
from bench.report import Measure, finish, package_versions
from devcluster.binaries import go_folder, module_version
from devcluster.paths import from_environment

ROWS: dict[str, Callable[[], Awaitable[list[Measure]]]] = {
    "1000": life.thousand,
    "5000": life.five_thousand,
    "growth": growth.measures,
    "latency": latency.measures,
    "progress": progress.measures,
    "restart": restart.measures,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="only these (default: all)")
    arguments = parser.parse_args()
    met = [_row(name) for name in arguments.rows]
    return 0 if all(met) else 1


def _row(name: str) -> bool:
    print(f"\n{name}", flush=True)
    try:
        measures = asyncio.run(ROWS[name]())
    except TimeoutError as error:
        print(f"{name}: not within its time limit {error}")
        return False
    return finish(f"operator-{name}", f"make bench-operator ROWS={name}", measures, _versions())


def _versions() -> dict[str, str]:
    modules = go_folder(from_environment()) / "go.mod"
    server = module_version(modules.read_text(), "k8s.io/kubernetes")
    packages = package_versions("kopf", "kubernetes", "aiohttp", "pydantic", "uvloop")
    return {"API server": server, "python": platform.python_version()} | packages


if __name__ == "__main__":
    sys.exit(main())
