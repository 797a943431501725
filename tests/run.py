"""`make test`: set up everything on a machine that never saw the project, run every test, print what each step took.

Standard library only, because it runs before the environment exists.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.paths import MAIN_CLUSTER, from_environment

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass
class Timings:
    """Seconds per step, in order of their end."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    def measure(self, name: str, step: Callable[[], None]) -> None:
        started = time.monotonic()
        print(f"==> {name}", flush=True)
        try:
            step()
        finally:
            self.steps.append((name, time.monotonic() - started))

    def show(self) -> None:
        print("\nseconds  step")
        for name, seconds in self.steps:
            print(f"{seconds:7.1f}  {name}")
        sys.stdout.flush()


class StepError(Exception):
    """A command of a step ended with an error."""


def run(*command: str) -> None:
    """Run a command in the repository; raises StepError when it does not end with 0."""
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if code:
        raise StepError(f"{' '.join(command)} ended with {code}")


def builds_and_environment() -> None:
    """Go builds, images and Python packages at once: they wait for the network and for the disk at different times."""
    driver = [sys.executable, "-m", "devcluster"]
    run(*driver, "preflight")
    builds = {name: subprocess.Popen([*driver, name], cwd=REPOSITORY) for name in ("build", "images")}
    try:
        run("make", "--no-print-directory", ".venv/.ready")
    finally:
        codes = {name: process.wait() for name, process in builds.items()}
    if failed := [name for name, code in codes.items() if code]:
        raise StepError(f"devcluster {' and '.join(failed)} failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="run also what is marked long, and write docs/long-run.md")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    arguments = parser.parse_args()
    paths = from_environment()
    os.environ.setdefault("CACHE_DIR", str(paths.cache))
    os.environ.setdefault("UV_CACHE_DIR", str(paths.uv_cache))
    python = str(REPOSITORY / ".venv/bin/python")
    chosen = ["--long-summary=docs/long-run.md"] if arguments.long else ["-m", "not long"]
    timings = Timings()
    ran_before = (paths.cluster(MAIN_CLUSTER) / "processes").is_dir()
    try:
        timings.measure("builds and environment", builds_and_environment)
        timings.measure("lint", lambda: run("make", "--no-print-directory", "lint"))
        timings.measure("base model", lambda: run(python, "-m", "demo.model"))
        timings.measure("cluster", lambda: run(sys.executable, "-m", "devcluster", "up", "--nodes", "2"))
        timings.measure("tests", lambda: run(python, "-m", "pytest", "--durations=20", *chosen, *arguments.pytest))
    except StepError as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        timings.show()
        if not ran_before:
            subprocess.run([sys.executable, "-m", "devcluster", "down"], cwd=REPOSITORY, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
