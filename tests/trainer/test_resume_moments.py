"""A request to stop at any moment at which it is looked for changes nothing of what a training comes to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.training import TrainingJob
from vernacular_trainer.contract import TrainSummary
from vernacular_trainer.errors import Preempted
from vernacular_trainer.stages import train
from vernacular_trainer.training.stop import StopRequest

pytestmark = pytest.mark.slow

MakeJob = Callable[..., TrainingJob]


class StopAtLook(StopRequest):
    """A request that comes just before it is looked for the n-th time."""

    def __init__(self, number: int) -> None:
        self.looks = 0
        self._number = number

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.looks += 1
        return self.looks >= self._number

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        yield


def run(job: TrainingJob, attempt: int, stop: StopAtLook, monkeypatch: pytest.MonkeyPatch) -> TrainSummary | None:
    """The summary, None when the training stopped on request."""
    monkeypatch.setattr(train, "StopRequest", lambda: stop)
    try:
        return train.run(job.config(attempt), job.workspace)
    except Preempted:
        return None


def result_of(job: TrainingJob) -> bytes:
    (path,) = job.workspace.result.rglob("*.safetensors")
    return path.read_bytes()


def told(summary: TrainSummary) -> tuple[object, ...]:
    return summary.step, summary.result_step, summary.stopped_early, summary.eval_loss, summary.tokens


@pytest.mark.parametrize("ends", ["early", "at its goal"])
def test_a_stop_at_every_look(job: MakeJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: str) -> None:
    changes = {
        "total_steps": 40 if ends == "early" else 6,
        "patience": 2 if ends == "early" else 0,
        "keep": "Best",
        "evaluate_every_steps": 2,
        "micro_batch_size": 4,
        "accumulation": 2,
        "learning_rate": 6e-2,
        "scheduler": "Constant",
    }
    never = StopAtLook(10_000)
    straight = job("straight", **changes)
    whole = run(straight, 1, never, monkeypatch)
    assert whole is not None
    assert whole.stopped_early is (ends == "early")
    for look in range(1, never.looks + 1):
        broken = job(f"broken-{look}", **changes)
        assert run(broken, 1, StopAtLook(look), monkeypatch) is None
        # a second one right at the beginning of the next attempt
        run(broken, 2, StopAtLook(1), monkeypatch)
        finished = run(broken, 3, StopAtLook(10_000), monkeypatch)
        assert finished is not None
        assert told(finished) == told(whole), look
        assert result_of(broken) == result_of(straight), look
