"""A job has one MLflow run that says how it ended, also when MLflow answers late, or is away when it matters."""

from __future__ import annotations

import pytest

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


def test_a_job_that_goes_at_once_waits_until_mlflow_knows_how_it_ended() -> None:
    with VirtualWorld(["one"], runPolicy={"ttlSecondsAfterFinished": 0}) as world:
        while world.job("one").get("status", {}).get("state") != "Publishing":
            world.work(1, succeed=True)
        uid = world.job("one")["metadata"]["uid"]
        world.tracking.up = False
        world.work(60, succeed=True)
        assert world.job("one")["status"]["state"] == "Succeeded"
        world.operator.crash()
        world.operator.start()
        world.go_on(60)
        assert world.store.find("finetunejobs", "one")

        world.tracking.up = True
        world.go_on(60)
        assert not world.store.find("finetunejobs", "one")
        world.go_on(700)
        (run,) = world.tracking.server.runs_of(uid)
        assert run.status == "FINISHED"


@pytest.mark.parametrize("away", [False, True], ids=["mlflow-there", "mlflow-away-at-the-end"])
def test_the_run_tells_what_the_job_used(away: bool) -> None:
    with VirtualWorld(["one"], compute={"gpusPerPod": 4}) as world:
        while world.job("one").get("status", {}).get("state") not in ("Publishing", "Succeeded"):
            world.work(1, succeed=True)
        assert world.job("one")["status"]["state"] == "Publishing"
        world.tracking.up = not away
        world.work(20, succeed=True)
        job = world.job("one")
        assert job["status"]["state"] == "Succeeded"
        world.operator.crash()
        world.operator.start()
        world.tracking.up = True
        world.go_on(400)
        (run,) = world.tracking.server.runs_of(job["metadata"]["uid"])
        assert run.status == "FINISHED"
        assert job["status"]["usage"]["gpuSeconds"] > 0
        assert run.metrics["usage/gpu_hours"]["value"] == round(job["status"]["usage"]["gpuSeconds"] / 3600, 4)
