"""The metrics of a job as an event file of TensorBoard, under the same names and steps as in MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from vernacular_trainer.tracking.spool import Point

NAME = "events.out.tfevents.0.vernacular"


def write_events(points: Iterable[Point], folder: Path) -> Path:
    """Write the only event file of a folder; equal points give a file of the same name and content."""
    # it imports torch where there is one, which takes seconds
    from tensorboardX import SummaryWriter

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        with SummaryWriter(beside) as writer:
            for point in points:
                writer.add_scalar(point.key, point.value, point.step, point.timestamp / 1000)
        (made,) = Path(beside).iterdir()
        return made.replace(folder / NAME)
