"""Jobs side by side, on a real API server and a real MLflow server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs
from support.command_line import Shell, shell_in
from support.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration

COUNTS = {"correct": 2, "wrong": 3, "declined": 0}


class World:
    """A namespace whose jobs have runs in MLflow."""

    def __init__(self, server: ApiServer, mlflow: MlflowServer, folder: Path) -> None:
        self.namespace = server.new_namespace("cli")
        self.client = MlflowClient(mlflow.uri)
        self.experiment = self.client.create_experiment(self.namespace)
        self.jobs = StoredJobs(server, self.namespace)
        self.address = mlflow.uri
        self.shell = shell_in(server, self.namespace, folder)

    def record(self, job: str, rate: str, losses: list[float], cluster: str = "", questions: str = "q1") -> str:
        """The id of a run as the stages and the operator leave it."""
        tags = {"vernacular.dev/namespace": self.namespace, "vernacular.dev/name": job}
        tags |= {"vernacular.dev/cluster": cluster} if cluster else {}
        run_id = str(self.client.create_run(self.experiment, tags=tags).info.run_id)
        for step, loss in enumerate(losses, 1):
            self.client.log_metric(run_id, "train/loss", loss, step=step)
        self.client.log_param(run_id, "model", "hf://org/model")
        self.client.log_param(run_id, "learningRate", rate)
        for name in ("base_correct", "base_wrong", "tuned_correct", "gain_points"):
            self.client.log_metric(run_id, f"verdict/{name}", 2)
        self.client.set_tag(run_id, "vernacular.dev/verdict", "Hold")
        self.client.set_tag(run_id, "vernacular.dev/questions", questions)
        self.client.log_param(run_id, "modelRevision", f"c-{rate}")
        self.client.set_terminated(run_id)
        return run_id

    def make(self, job: str, rate: str, losses: list[float], questions: str = "q1") -> None:
        run_id = self.record(job, rate, losses, questions=questions)
        status = {
            "state": "Succeeded",
            "plan": {"values": [{"name": "learningRate", "value": rate, "reason": "given"}]},
            "mlflow": {"runID": run_id, "url": f"{self.address}/#/experiments/{self.experiment}/runs/{run_id}"},
            "evaluation": {
                "verdict": "Hold", "base": COUNTS, "tuned": COUNTS, "gainPoints": {"value": 0, "low": -9, "high": 9},
            },
        }  # fmt: skip
        self.jobs.make(job, status)


@pytest.fixture
def world(api_server: ApiServer, mlflow_server: MlflowServer, tmp_path: Path) -> World:
    return World(api_server, mlflow_server, tmp_path)


def test_two_jobs_on_a_terminal(world: World) -> None:
    world.make("hr-bot", "2e-4", [3.0, 2.0, 1.0])
    world.make("hr-bot-2", "1e-4", [3.0, 2.5, 2.0])

    with world.shell.terminal("compare", "hr-bot", "hr-bot-2", columns=100) as screen:
        assert screen.end() == 0

    lines = [line.rstrip() for line in screen.shown.splitlines()]
    assert ["learningRate", "2e-4", "1e-4"] in [line.split() for line in lines], screen.shown
    assert any(line.endswith("3 to 1   step 3") for line in lines), screen.shown
    assert any(line.endswith("3 to 2   step 3") for line in lines), screen.shown
    assert "0 (-9 to +9)" in screen.shown


def test_a_job_that_is_gone_is_known_by_its_run(world: World) -> None:
    world.make("hr-bot", "2e-4", [3.0, 1.0])
    old = world.record("hr-bot-old", "1e-4", [4.0, 3.0])
    newer = world.record("hr-bot-old", "3e-4", [5.0, 2.0])

    by_name = json.loads(world.shell.run("compare", "hr-bot", "hr-bot-old", "-o", "json").stdout)
    by_id = json.loads(world.shell.run("compare", "hr-bot", old, "-o", "json").stdout)

    assert [item["run_id"] for item in by_name["jobs"]][1] == newer
    assert by_name["differing"]["learningRate"] == ["2e-4", "3e-4"]
    assert by_name["jobs"][1]["curves"]["train/loss"] == [[1, 5.0], [2, 2.0]]
    assert by_name["jobs"][1]["score"]["verdict"] == "Hold"
    assert [item["run_id"] for item in by_id["jobs"]][1] == old
    assert by_id["jobs"][1]["name"] == f"hr-bot-old {old[:8]}"


def test_jobs_that_were_asked_other_questions(world: World) -> None:
    world.make("hr-bot", "2e-4", [3.0])
    world.make("hr-bot-2", "1e-4", [3.0])
    world.make("hr-bot-3", "3e-4", [3.0], questions="q2")

    same = json.loads(world.shell.run("compare", "hr-bot", "hr-bot-2", "-o", "json").stdout)
    other = json.loads(world.shell.run("compare", "hr-bot", "hr-bot-3", "-o", "json").stdout)

    assert same["remarks"] == []
    assert same["differing"]["modelRevision"] == ["c-2e-4", "c-1e-4"]
    assert other["remarks"] == ["These jobs were not asked the same questions: their right answers cannot be compared."]


def test_runs_of_this_name_in_another_cluster_are_not_meant(world: World, api_server: ApiServer) -> None:
    world.make("hr-bot", "2e-4", [1.0])
    cluster = api_server.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    own = world.record("hr-bot-old", "1e-4", [3.0], cluster)
    world.record("hr-bot-old", "3e-4", [2.0], "another-cluster")
    world.record("hr-bot-far", "3e-4", [2.0], "another-cluster")
    world.record("hr-bot-far", "3e-4", [2.0], "a-third")

    by_name = json.loads(world.shell.run("compare", "hr-bot", "hr-bot-old", "-o", "json").stdout)
    unclear = world.shell.run("compare", "hr-bot", "hr-bot-far")

    assert by_name["jobs"][1]["run_id"] == own
    assert unclear.returncode == 1
    assert "cluster another-cluster" in unclear.stderr
    assert "cluster a-third" in unclear.stderr
    assert "name one of them by its id" in unclear.stderr


def test_neither_job_nor_run(world: World) -> None:
    world.make("hr-bot", "2e-4", [3.0])

    done = world.shell.run("compare", "hr-bot", "hr-bto")

    assert done.returncode == 1
    assert f"there is neither a FineTuneJob hr-bto in namespace {world.namespace} nor a run" in done.stderr


def test_one_job_alone(world: World) -> None:
    done = world.shell.run("compare", "hr-bot", "hr-bot")

    assert done.returncode == 1
    assert "one job alone cannot be compared" in done.stderr


def test_without_mlflow_the_resources_are_compared(world: World, api_server: ApiServer, tmp_path: Path) -> None:
    world.make("hr-bot", "2e-4", [3.0])
    world.make("hr-bot-2", "1e-4", [3.0])
    away = Shell(tmp_path / "config", tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})

    done = away.run("compare", "hr-bot", "hr-bot-2")

    assert done.returncode == 0
    assert "Without the courses of the losses: MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    assert "learningRate" in done.stdout
    assert "Training loss" not in done.stdout
    # a job that is gone is known to MLflow alone
    assert away.run("compare", "hr-bot", "gone").returncode == 4
