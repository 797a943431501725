"""What a training tells in its pod's log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from vernacular_trainer.training.metrics import LoggedSink


class Kept:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append(step)

    def close(self) -> None:
        self.steps.append(-1)


def test_the_log_tells_the_first_step_then_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now, kept = [100.0], Kept()
    sink = LoggedSink(kept, 50, clock=lambda: now[0])
    for step in range(1, 5):
        sink.log(step, {"train/loss": 4.43215, "train/tokens_per_second": 1234.5, "progress/step": float(step)})
        now[0] += 6.0
    sink.log(4, {"eval/loss": 3.5})
    sink.log(4, {"progress/checkpoint_step": 4.0})
    sink.close()

    assert [record.getMessage() for record in caplog.records] == [
        "step 1 of 50: train/loss 4.432, train/tokens_per_second 1234",
        "step 3 of 50: train/loss 4.432, train/tokens_per_second 1234",
        "step 4 of 50: eval/loss 3.5",
        "step 4 of 50: checkpoint saved",
    ]
    assert kept.steps == [1, 2, 3, 4, 4, 4, -1]


def test_frequent_evaluations_do_not_push_the_loss_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    sink = LoggedSink(Kept(), 50, clock=lambda: now[0])
    for step in range(1, 4):
        sink.log(step, {"train/loss": 2.0})
        sink.log(step, {"eval/loss": 3.0})
        now[0] += 6.0

    told = [record.getMessage() for record in caplog.records if "train/loss" in record.getMessage()]
    assert told == ["step 1 of 50: train/loss 2", "step 3 of 50: train/loss 2"]
