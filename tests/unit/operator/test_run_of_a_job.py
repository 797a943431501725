"""A job has one MLflow run that says how it ended, also when MLflow answers late, or is away when it matters."""

from __future__ import annotations

import pytest

from support.fake_mlflow import FakeRun
from support.simulated_workloads import USER_ERROR
from support.virtual_world import VirtualWorld
from vernacular_operator.kube.api import Kind, Object
from vernacular_operator.kube.errors import UnavailableError

FIRST_SWEEPS_SECONDS = 700


def runs(world: VirtualWorld, name: str = "one") -> list[FakeRun]:
    return world.tracking.server.runs_of(world.job(name)["metadata"]["uid"])


def fail_in_prepare(world: VirtualWorld, after: int) -> None:
    """The data is wrong; MLflow may not have answered yet."""
    world.work(2)
    world.go_on(max(0, after - 4))
    (pod,) = world.workloads.running()
    world.workloads.end(pod, 78, USER_ERROR)
    world.workloads.control()
    world.go_on(2)
    assert world.job("one")["status"]["state"] == "Failed"


def test_a_run_that_was_opened_too_late_to_be_heard_of_is_removed() -> None:
    with VirtualWorld(["one"]) as world:
        world.tracking.late = {"runs/create": 45.0}
        world.work(18)
        world.tracking.late = {}
        world.work(20)
        uid = world.job("one")["metadata"]["uid"]
        assert len(world.tracking.server.runs) == 2
        world.go_on(FIRST_SWEEPS_SECONDS)
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
        world.go_on(FIRST_SWEEPS_SECONDS)
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


@pytest.mark.parametrize("crash", [False, True], ids=["goes-on", "operator-restarts"])
@pytest.mark.parametrize("ended_after", range(5, 90, 7))
def test_a_job_that_ended_before_its_run_was_heard_of_has_one_run_that_says_so(ended_after: int, crash: bool) -> None:
    with VirtualWorld(["one"]) as world:
        world.tracking.late = {"runs/create": 45.0}
        fail_in_prepare(world, ended_after)
        if crash:
            world.operator.crash()
            world.operator.start()
        world.tracking.late = {}
        world.go_on(FIRST_SWEEPS_SECONDS)
        assert [run.status for run in runs(world)] == ["FAILED"]


def test_a_run_that_opens_after_the_end_of_its_job_is_closed_at_once() -> None:
    with VirtualWorld(["one"]) as world:
        world.tracking.late = {"runs/create": 20.0}
        fail_in_prepare(world, 5)
        assert runs(world) == []
        world.go_on(20)
        assert [run.status for run in runs(world)] == ["FAILED"]


def test_a_run_that_opens_after_its_job_was_deleted_is_closed_at_once() -> None:
    with VirtualWorld(["one"]) as world:
        world.tracking.late = {"runs/create": 20.0}
        world.go_on(5)
        uid = world.job("one")["metadata"]["uid"]
        world.store.remove("finetunejobs", "one")
        world.go_on(20)
        assert [run.status for run in world.tracking.server.runs_of(uid)] == ["KILLED"]


def test_a_job_that_goes_at_once_waits_for_the_run_that_is_being_opened() -> None:
    with VirtualWorld(["one"], runPolicy={"ttlSecondsAfterFinished": 0}) as world:
        world.tracking.late = {"runs/create": 20.0}
        fail_in_prepare(world, 5)
        uid = world.job("one")["metadata"]["uid"]
        world.go_on(60)
        assert not world.store.find("finetunejobs", "one")
        assert [run.status for run in world.tracking.server.runs_of(uid)] == ["FAILED"]


def test_a_job_that_goes_at_once_finds_the_run_that_its_status_does_not_name() -> None:
    with VirtualWorld(["one"], runPolicy={"ttlSecondsAfterFinished": 0}) as world:
        world.go_on(5)
        world.operator.crash()
        world.tracking.up = False
        world.operator.start()
        fail_in_prepare(world, 5)
        assert [run.status for run in runs(world)] == ["RUNNING"]
        assert "mlflow" not in world.job("one")["status"]
        uid = world.job("one")["metadata"]["uid"]
        world.tracking.up = True
        world.go_on(60)
        assert not world.store.find("finetunejobs", "one")
        assert [run.status for run in world.tracking.server.runs_of(uid)] == ["FAILED"]


@pytest.mark.parametrize("missing", ["uid", "namespace", "name"])
def test_a_run_with_a_missing_tag_is_left_alone_and_holds_up_no_other(missing: str) -> None:
    with VirtualWorld(["one", "two"]) as world:
        world.work(2)
        (broken,), (gone,) = runs(world, "one"), runs(world, "two")
        del broken.tags[f"vernacular.dev/{missing}"]
        world.operator.crash()
        for name in ("one", "two"):
            world.store.remove("finetunejobs", name)
        world.operator.start()
        world.go_on(FIRST_SWEEPS_SECONDS)
        assert (broken.status, gone.status) == ("RUNNING", "KILLED")
        assert not world.operator.ended


@pytest.mark.parametrize(("refused", "other"), [("one", "two"), ("two", "one")])
def test_a_run_whose_job_cannot_be_asked_for_does_not_end_the_sweep(
    refused: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VirtualWorld(["one", "two"]) as world:
        world.work(2)
        (unknown,), (gone,) = runs(world, refused), runs(world, other)
        world.operator.crash()
        for name in ("one", "two"):
            world.store.remove("finetunejobs", name)
        world.operator.start()
        get = world.operator.api.get

        async def refuse(kind: Kind, namespace: str, name: str) -> Object:
            if name == refused:
                raise UnavailableError("injected", 500)
            return await get(kind, namespace, name)

        monkeypatch.setattr(world.operator.api, "get", refuse)
        world.go_on(30)
        assert (unknown.status, gone.status) == ("RUNNING", "KILLED")
        monkeypatch.undo()
        world.go_on(FIRST_SWEEPS_SECONDS)
        assert unknown.status == "KILLED"


def test_a_job_goes_though_somebody_deleted_its_run() -> None:
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 30}, "compute": {"gpusPerPod": 4}}
    with VirtualWorld(["one"], **spec) as world:
        while world.job("one").get("status", {}).get("state") != "Publishing":
            world.work(1, succeed=True)
        (run,) = runs(world)
        run.deleted = True
        world.work(8, succeed=True)
        assert world.job("one")["status"]["usage"]["gpuSeconds"] > 0
        world.go_on(60)
        assert not world.store.find("finetunejobs", "one")
