"""What was deleted while a watch was broken is noticed within a minute, not at the second regular resync."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.virtual_world import VirtualWorld
from support.worlds import NOW
from vernacular_operator.runtime.gaps import GapDetector

NOTICED_SECONDS = 60


@pytest.mark.parametrize("broken", ["jobs", "pods", "finetunejobs"])
def test_a_deletion_that_no_watch_told_is_noticed_soon(broken: str) -> None:
    with VirtualWorld(["one", "two"]) as world:
        world.work(30)
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
