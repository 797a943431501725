"""`make bench-tracking`: what tracking takes from a training, and what 200 trainings take from a server."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.report import Measure, finish, package_versions
from bench.tracking.jobs import JOBS, Load, load
from bench.tracking.overhead import Overhead, overhead
from support.mlflow_server import MlflowServer
from vernacular_trainer.tracking.allowance import REQUESTS_PER_MINUTE


def main() -> int:
    with tempfile.TemporaryDirectory() as name, MlflowServer(Path(name) / "mlflow") as server:
        measures = rows(overhead(server, Path(name) / "overhead"), load(server, Path(name) / "load"))
    met = finish("tracking", "make bench-tracking", measures, package_versions("mlflow", "torch"))
    return 0 if met else 1


def rows(of_training: Overhead, of_server: Load) -> list[Measure]:
    """Measured values beside what is promised."""
    jobs = f"{JOBS} jobs"
    return [
        Measure("training: waiting for its tracking, and tracking's own computing", of_training.total, "%", 1.0),
        Measure("training: waiting alone", of_training.waited, "%"),
        Measure("training: longer than without, noise included", of_training.longer, "%"),
        Measure("training: a step, which is logged", of_training.step, "ms"),
        Measure(f"{jobs}: the server's only worker is busy", of_server.busy, "%", 50.0),
        Measure(f"{jobs}: requests of each", of_server.requests, "/min", REQUESTS_PER_MINUTE),
        Measure(f"{jobs}: points in a minute", of_server.points, ""),
        Measure(f"{jobs}: another request, median", of_server.usual, "ms"),
        Measure(f"{jobs}: another request, 95th percentile", of_server.slowest, "ms"),
        Measure(f"{jobs}: the operator reads progress of all", of_server.poll, "ms"),
    ]


if __name__ == "__main__":
    sys.exit(main())
