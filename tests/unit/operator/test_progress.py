"""Progress is read for all jobs at once, and what one of them logs cannot hide the others, nor end the operator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

import pytest

from support.virtual_time import EPOCH
from support.virtual_world import VirtualWorld
from vernacular.api import FineTuneJobStatus
from vernacular.api.status import Progress

NOW_MS = round(EPOCH.timestamp() * 1000)


def train(world: VirtualWorld, *names: str) -> None:
    """Work until these jobs train and their runs are named."""
    while any(world.job(name).get("status", {}).get("state") != "Training" for name in names):
        world.work(1)
        for pod in world.workloads.running():
            if "-prepare-" in pod:
                world.workloads.succeed(pod)


def log(world: VirtualWorld, name: str, metrics: Mapping[str, float], timestamp: int = NOW_MS) -> None:
    """What a training logs to its run."""
    (run,) = world.tracking.server.runs_of(world.job(name)["metadata"]["uid"])
    for step, (key, value) in enumerate(metrics.items()):
        run.metrics[key] = {"key": key, "value": value, "step": step, "timestamp": timestamp}


def status(world: VirtualWorld, name: str) -> FineTuneJobStatus:
    return FineTuneJobStatus.model_validate(world.job(name)["status"])


def progress(world: VirtualWorld, name: str) -> Progress:
    found = status(world, name).progress
    assert found is not None
    return found


HOSTILE: dict[str, tuple[dict[str, float], int]] = {
    "nanoseconds": ({"progress/step": 5}, NOW_MS * 1_000_000),
    "before-1970": ({"progress/step": 5}, -(10**14)),
    "negative-step": ({"progress/step": -1}, NOW_MS),
    "endless-step": ({"progress/step": math.inf}, NOW_MS),
    "no-number": ({"progress/step": math.nan}, NOW_MS),
    "huge-step": ({"progress/step": 1e300}, NOW_MS),
}


@pytest.mark.parametrize(("metrics", "timestamp"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_step_that_cannot_be_believed_is_no_progress(metrics: dict[str, float], timestamp: int) -> None:
    with VirtualWorld(["one", "two"]) as world:
        train(world, "one", "two")
        log(world, "one", metrics, timestamp)
        log(world, "two", {"progress/step": 10, "progress/total_steps": 40})
        world.go_on(30)
        assert progress(world, "one").reported_at is None
        assert (progress(world, "two").step, progress(world, "two").percent) == (10, 25)

        log(world, "one", {"progress/step": 20, "progress/total_steps": 40})
        world.go_on(30)
        assert progress(world, "one").percent == 50


@pytest.mark.parametrize("value", [-1, 1e300, math.inf, math.nan])
@pytest.mark.parametrize(
    "name",
    [
        "progress/total_steps",
        "train/loss",
        "eval/loss",
        "train/tokens_per_second",
        "progress/checkpoint_step",
        "progress/checkpoint_seconds",
    ],
)
def test_a_value_that_cannot_be_believed_is_left_out(name: str, value: float) -> None:
    with VirtualWorld(["one"]) as world:
        train(world, "one")
        log(world, "one", {"progress/total_steps": 40, name: value, "progress/step": 10})
        world.go_on(30)
        log(world, "one", {"progress/step": 20}, NOW_MS + 100_000)
        world.go_on(30)
        assert progress(world, "one").step == 20
        checkpoints = status(world, "one").checkpoints
        assert checkpoints is None or checkpoints.latest_step == 0


def test_a_pace_without_end_is_no_estimate() -> None:
    with VirtualWorld(["one"]) as world:
        train(world, "one")
        log(world, "one", {"progress/total_steps": 2.0**53, "progress/step": 1e-9}, NOW_MS)
        world.go_on(30)
        log(world, "one", {"progress/step": 1}, NOW_MS + 10**12)
        world.go_on(30)
        assert (progress(world, "one").step, progress(world, "one").eta_seconds) == (1, None)


def test_a_job_whose_report_cannot_be_compared_does_not_hold_up_the_others() -> None:
    with VirtualWorld(["one", "two"]) as world:
        train(world, "one", "two")
        broken = {**world.job("one")["status"]["progress"], "reportedAt": "never"}
        world.store.update("finetunejobs", "one", lambda job: job["status"].update(progress=broken))
        for name in ("one", "two"):
            log(world, name, {"progress/step": 10, "progress/total_steps": 40})
        world.go_on(60)
        assert progress(world, "two").step == 10


def test_mlflow_that_never_answers_is_unread_since_the_start() -> None:
    with VirtualWorld([]) as world:
        world.tracking.up = False
        world.go_on(900)
        assert world.operator.state().poll_age == timedelta(minutes=15).total_seconds()

        world.tracking.up = True
        world.go_on(11)
        assert (world.operator.state().poll_age or math.inf) <= 10
