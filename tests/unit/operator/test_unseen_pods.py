"""Pods that no watch has told of yet: nothing is said, and nothing is started, as if they did not run."""

from __future__ import annotations

from support.virtual_world import VirtualWorld


def test_a_job_is_not_called_suspended_while_an_unseen_pod_runs() -> None:
    with VirtualWorld(["one"]) as world:
        _start_unseen(world)

        world.workloads.suspend("one", True)
        world.go_on(3)
        assert world.job("one")["status"]["state"] != "Suspended"
        assert world.job("one")["status"]["reason"] == "WaitingForDeletion"

        world.operator.blind.clear()
        world.work(3)
        assert world.job("one")["status"]["state"] == "Suspended"


def test_a_job_does_not_go_on_beside_an_unseen_pod_of_its_stopped_attempt() -> None:
    with VirtualWorld(["one"]) as world:
        _start_unseen(world)
        world.workloads.suspend("one", True)
        world.go_on(2)

        world.workloads.suspend("one", False)
        world.go_on(6)
        assert world.attempts("one") == []

        world.operator.blind.clear()
        world.work(5)
        assert world.attempts("one") == ["2"]


def _start_unseen(world: VirtualWorld) -> None:
    world.go_on(3)
    world.operator.blind.add("pods")
    world.workloads.control()
    world.workloads.run_pods()
    assert world.workloads.running()
