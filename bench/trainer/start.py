"""From the start of the container's command to the end of the first optimizer step."""

from __future__ import annotations

import json
import time
from pathlib import Path

from support.tiny_model import build_tiny_model
from support.training import TrainingJob, plan
from vernacular_trainer.contract import Outcome


def seconds_to_first_step(root: Path, ranks: int) -> float:
    """The faster of two starts of a tiny model's training."""
    model = build_tiny_model(root / "tiny")
    return min(
        _start(TrainingJob(root / f"start-{ranks}-{n}", model, plan(world_size=ranks, micro_batch_size=8 // ranks)))
        for n in range(2)
    )


def _start(job: TrainingJob) -> float:
    job.prepare(validation=[])
    began = time.time()
    finished = job.run()
    assert finished.report.outcome is Outcome.DONE, finished.log
    (spool,) = job.workspace.spool.glob("attempt-*.jsonl")
    points = [json.loads(line) for line in spool.read_text().splitlines()]
    return min(point["timestamp"] for point in points if point["step"] == 1) / 1000 - began
