"""One measurement in a process of its own, so that its memory is its own: `python -m bench.data.measure FILE`."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vernacular_trainer.cgroup import available_cores
from vernacular_trainer.contract import DatasetConfig
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.review import review
from vernacular_trainer.data.similar_rows import similar_rows
from vernacular_trainer.data.sources import check_sources
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.data.workers import Workers

T = TypeVar("T")


def measure(path: Path, processes: int) -> dict[str, float]:
    """Seconds of each step, and the peak memory of all of them in GiB."""
    problems, config = ProblemLog(), DatasetConfig(())
    copy = InputCopy(path.name, path, "sha256:", path.stat().st_size)
    with Workers(processes) as workers:
        checked, parse = _timed(lambda: check_sources((copy,), config, problems, workers=workers))
        reviewed, checks = _timed(lambda: review(checked.conversations, config, (), problems, workers))
        rows = reviewed.conversations
        _, split = _timed(lambda: split_rows(rows, reviewed.similar, 10, "Facts", 42, workers))
        _, near = _timed(lambda: similar_rows(checked.conversations, workers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"parse": parse, "checks": checks - near, "near": near, "split": split, "peak": peak}


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    started = time.monotonic()
    result = action()
    return result, time.monotonic() - started


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), available_cores())))
