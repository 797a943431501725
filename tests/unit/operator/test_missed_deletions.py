"""What was deleted while a watch was broken is noticed within a minute, not at the second regular resync."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from support.history import Change
from support.simulated_api import Store
from support.simulated_mlflow import Tracking
from support.simulated_operator import SimulatedOperator
from support.simulated_workloads import Workloads
from support.virtual_time import VirtualLoop
from support.worlds import NOW
from vernacular_operator.runtime.gaps import GapDetector

SPEC = {
    "model": {"uri": "pvc://models/tiny"},
    "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
    "compute": {"gpusPerPod": 0},
}
NOTICED_SECONDS = 60


class World:
    """Two jobs whose prepare pods run, a minute after the operator's start."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.changes: list[Change] = []
        self.store = Store(self.loop, self.changes.append)
        self.workloads = Workloads(self.store)
        self.operator = SimulatedOperator(self.store, Tracking())
        body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "spec": SPEC}
        for name in ("one", "two"):
            self.store.create("finetunejobs", {**body, "metadata": {"name": name}})
        self.operator.start()
        for _ in range(30):
            self.go_on(2)
            self.workloads.control()
            self.workloads.run_pods()

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.loop.within(self.operator.look)
            self.loop.pass_time(1)

    def attempts(self, name: str) -> list[str]:
        """The attempts of a job that have a Job now."""
        names = sorted(item["metadata"]["name"] for item in self.store.list("jobs"))
        return [item.rpartition("-")[2] for item in names if item.startswith(f"{name}-")]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.operator.crash()
    made.loop.stop_all()


@pytest.mark.parametrize("broken", ["jobs", "pods", "finetunejobs"])
def test_a_deletion_that_no_watch_told_is_noticed_soon(world: World, broken: str) -> None:
    assert (world.attempts("one"), world.attempts("two")) == (["1"], ["1"])
    (name,) = [item["metadata"]["name"] for item in world.store.list("jobs") if item["metadata"]["name"] < "two"]
    world.operator.blind = {"jobs", "pods"}
    world.store.remove("jobs", name)
    world.workloads.control()
    world.workloads.run_pods()
    world.store.streams["jobs"], world.store.streams["pods"] = [], []
    world.operator.relist(broken)
    world.operator.blind = set()
    world.go_on(NOTICED_SECONDS)
    assert (world.attempts("one"), world.attempts("two")) == (["2"], ["1"])


def test_the_first_list_and_objects_of_the_same_list_are_no_gap() -> None:
    gaps = GapDetector(NOW)
    moments = [1, 5, 14, 60, 61]
    found = [gaps.listed("pods", NOW + timedelta(seconds=second)) for second in moments]
    assert found == [False, False, False, True, False]
    assert gaps.listed("jobs", NOW + timedelta(seconds=62))
