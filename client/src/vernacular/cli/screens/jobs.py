"""Jobs as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vernacular.cli.screens.layout import Cell, Paint, table
from vernacular.cli.screens.values import duration, percent, pick, since, text
from vernacular.cli.terminal import Colour

STATE_COLOURS = {
    "Succeeded": Colour.GOOD,
    "Failed": Colour.BAD,
    "Pending": Colour.ATTENTION,
    "Queued": Colour.ATTENTION,
    "Suspended": Colour.FAINT,
}
VERDICT_COLOURS = {"Promote": Colour.GOOD, "Regressed": Colour.BAD}

_TITLES = ("NAME", "STATE", "PROGRESS", "ETA", "VERDICT", "AGE")
_WIDE_TITLES = ("REASON", "LOSS", "MODEL", "METHOD", "GPUS", "RESTARTS", "RUN")


def job_table(
    jobs: Sequence[Mapping[str, Any]], now: datetime, paint: Paint, *, wide: bool = False, namespaces: bool = False
) -> list[str]:
    """One line a job. `wide` shows more columns, `namespaces` whose job it is."""
    titles = [*(("NAMESPACE",) if namespaces else ()), *_TITLES, *(_WIDE_TITLES if wide else ())]
    rows = [
        [
            *([Cell(job["metadata"].get("namespace", ""))] if namespaces else []),
            *_cells(job, now),
            *(_wide_cells(job) if wide else []),
        ]
        for job in jobs
    ]
    return table(titles, rows, paint)


def state_cell(job: Mapping[str, Any]) -> Cell:
    """The job in one word; a job that no operator has seen yet has none."""
    state = "Deleting" if pick(job, "metadata.deletionTimestamp") else pick(job, "status.state")
    return Cell(text(state), STATE_COLOURS.get(state, Colour.ACTIVE) if state else None)


def verdict_cell(job: Mapping[str, Any]) -> Cell:
    """What to make of the tuned model."""
    verdict = pick(job, "status.evaluation.verdict")
    return Cell(text(verdict), VERDICT_COLOURS.get(verdict, Colour.ATTENTION) if verdict else None)


def gpus(job: Mapping[str, Any]) -> int:
    """GPUs of all training pods together."""
    return int(pick(job, "spec.compute.pods") or 1) * int(pick(job, "spec.compute.gpusPerPod") or 0)


def _cells(job: Mapping[str, Any], now: datetime) -> list[Cell]:
    return [
        Cell(job["metadata"]["name"]),
        state_cell(job),
        Cell(percent(pick(job, "status.progress.percent"))),
        Cell(duration(pick(job, "status.progress.etaSeconds"))),
        verdict_cell(job),
        Cell(since(pick(job, "metadata.creationTimestamp"), now)),
    ]


def _wide_cells(job: Mapping[str, Any]) -> list[Cell]:
    paths = ("status.reason", "status.progress.loss", "spec.model.uri", "spec.method.type")
    rest = ("status.usage.restarts", "status.mlflow.runID")
    return [
        *(Cell(text(pick(job, path))) for path in paths),
        Cell(str(gpus(job))),
        *(Cell(text(pick(job, path))) for path in rest),
    ]
