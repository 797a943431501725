"""A job has one MLflow run, also when MLflow opens one so late that another was opened meanwhile."""

from __future__ import annotations

from support.virtual_world import VirtualWorld


def test_a_run_that_was_opened_too_late_to_be_heard_of_is_removed() -> None:
    with VirtualWorld(["one"]) as world:
        world.tracking.late = {"runs/create": 45.0}
        world.work(18)
        world.tracking.late = {}
        world.work(20)
        uid = world.job("one")["metadata"]["uid"]
        assert len(world.tracking.server.runs) == 2
        world.go_on(700)
        (run,) = world.tracking.server.runs_of(uid)
        assert run.run_id == world.job("one")["status"]["mlflow"]["runID"]
        assert run.status == "RUNNING"
