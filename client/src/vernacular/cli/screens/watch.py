"""A job that is being watched: a screen that is written over, or one line for each change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vernacular.cli.commands import Commands
from vernacular.cli.screens.describe import failure_lines, progress_lines
from vernacular.cli.screens.jobs import state_cell, verdict_cell
from vernacular.cli.screens.layout import Cell, Paint, field
from vernacular.cli.screens.values import duration, pick, seconds_between, sparkline
from vernacular.cli.terminal import Colour

Json = Mapping[str, Any]

_STAGES = ("Prepare", "Train", "Evaluate", "Publish")
_MARKS = {
    "Succeeded": ("✓", Colour.GOOD),
    "Failed": ("✗", Colour.BAD),
    "Running": ("●", Colour.ACTIVE),
    "Pending": ("○", Colour.FAINT),
}
_LABEL_AND_EDGE = 16
_LONGEST_COURSE = 60


@dataclass(frozen=True)
class Course:
    """The losses seen so far, one a step."""

    losses: tuple[tuple[int, float], ...] = ()

    def seen(self, job: Json) -> Course:
        """With what the job reports now. A training that goes on from a checkpoint takes later losses back."""
        step, loss = pick(job, "status.progress.step"), _number(pick(job, "status.progress.loss"))
        if step is None or loss is None:
            return self
        return Course((*(item for item in self.losses if item[0] < step), (step, loss)))

    def bars(self, width: int) -> str:
        """As a line of bars."""
        return sparkline([loss for _, loss in self.losses], width)


def ended(job: Json) -> bool:
    """Whether the job has ended, for good."""
    return succeeded(job) or _is_true(job, "Failed")


def succeeded(job: Json) -> bool:
    """Whether it ended well."""
    return _is_true(job, "Complete")


def line(job: Json) -> str:
    """The job in one line: what changes is said, when it is not is not."""
    parts = [state_cell(job).text]
    if reason := pick(job, "status.reason"):
        parts.append(f"({reason})")
    progress = progress_lines(job, lambda text, _: text)
    if progress and pick(job, "status.state") == "Training":
        parts.append(progress[0])
    elif message := pick(job, "status.message"):
        parts.append(message)
    return " ".join(parts)


def screen(job: Json, course: Course, now: datetime, paint: Paint, width: int) -> list[str]:
    """The whole screen."""
    took = seconds_between(pick(job, "status.startTime"), pick(job, "status.completionTime"), now)
    lines = [
        *field("Job", f"{job['metadata'].get('namespace', '')}/{job['metadata']['name']}", paint, width),
        *field("State", state_cell(job), paint, width),
        *field(
            "Stages", "  ".join(f"{_mark(job, name)[0]} {name}" for name in _STAGES), _stage_paint(job, paint), width
        ),
    ]
    if message := pick(job, "status.message"):
        lines += field("Message", message, paint, width)
    for text in progress_lines(job, lambda text, _: text):
        lines += field("Training", text, paint, width)
    if bars := course.bars(min(_LONGEST_COURSE, width - _LABEL_AND_EDGE)):
        lines += field("Loss", Cell(bars, Colour.ACTIVE), paint, width)
    if pick(job, "status.evaluation"):
        lines += field("Verdict", verdict_cell(job), paint, width)
        lines += field("", pick(job, "status.evaluation.summary") or "", paint, width)
    lines += failure_lines(job, paint, width)
    return [*lines, *field("Runs for", duration(took), paint, width)] if took is not None else lines


def last_words(job: Json, commands: Commands) -> list[str]:
    """What to do next, once it has ended."""
    name = job["metadata"]["name"]
    if not succeeded(job):
        return [f"{commands.own('explain', name)}  says what mends it"]
    url = pick(job, "status.mlflow.url")
    return [f"{commands.own('describe', name)}  shows the results" + (f"; the run: {url}" if url else "")]


def _stage_paint(job: Json, paint: Paint) -> Paint:
    """Each stage in its own colour."""

    def painted(text: str, _: Colour | None) -> str:
        for name in _STAGES:
            mark, colour = _mark(job, name)
            text = text.replace(f"{mark} {name}", paint(f"{mark} {name}", colour))
        return text

    return painted


def _mark(job: Json, stage: str) -> tuple[str, Colour]:
    found = (item.get("state") for item in pick(job, "status.stages") or () if item.get("name") == stage)
    return _MARKS.get(next(found, "Pending"), _MARKS["Pending"])


def _is_true(job: Json, kind: str) -> bool:
    conditions = pick(job, "status.conditions") or ()
    return any(item.get("type") == kind and item.get("status") == "True" for item in conditions)


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
