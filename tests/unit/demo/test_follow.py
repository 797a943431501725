"""The line that a person watches while a job runs."""

from __future__ import annotations

import io
from typing import Any

import pytest

from demo.follow import ProgressPrinter, progress_line


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({}, "Pending"),
        ({"state": "Preparing", "message": "0 of 1 pods run"}, "Preparing · 0 of 1 pods run"),
        (
            {"state": "Training", "progress": {"step": 3, "totalSteps": 90, "loss": "0.5", "etaSeconds": 120}},
            "Training · step 3/90 · loss 0.5 · 120 s left",
        ),
        (
            {"state": "Training", "progress": {"totalSteps": 90}, "message": "0 of 2 pods run"},
            "Training · 0 of 2 pods run",
        ),
    ],
)
def test_a_line_says_state_and_progress(status: dict[str, Any], line: str) -> None:
    assert progress_line({"status": status}) == line


def test_a_pipe_gets_one_line_per_change() -> None:
    stream = io.StringIO()
    printer = ProgressPrinter(stream, started=100)
    for now, line in ((101, "Pending"), (102, "Pending"), (103, "Training")):
        printer.show(line, now)
    printer.finish()

    assert stream.getvalue() == "[    1 s] Pending\n[    3 s] Training\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_in_place() -> None:
    stream = Terminal()
    printer = ProgressPrinter(stream, started=0)
    printer.show("Pending", 1)
    printer.show("Training", 2)
    printer.finish()

    assert stream.getvalue() == "\r\x1b[K[    1 s] Pending\r\x1b[K[    2 s] Training\n"
