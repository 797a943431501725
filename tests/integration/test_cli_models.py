"""Promotion and the way back, on a real API server and a real MLflow server."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs, condition
from support.command_line import Shell, shell_in
from support.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration


class World:
    """A namespace with a job, and its model in MLflow with a version of an earlier job and one of its own."""

    def __init__(self, server: ApiServer, mlflow: MlflowServer, folder: Path) -> None:
        self.namespace = server.new_namespace("cli")
        self.model = f"{self.namespace}.hr-bot"
        self.client = MlflowClient(mlflow.uri)
        self.client.create_registered_model(self.model)
        for job in ("hr-bot-1", "hr-bot"):
            self.register(job, "Hold")
        self.client.set_registered_model_alias(self.model, "champion", "1")
        self.jobs = StoredJobs(server, self.namespace)
        self.address = mlflow.uri
        self.url = f"{mlflow.uri}/#/experiments/1/runs/abc"
        self.shell = shell_in(server, self.namespace, folder)

    def register(self, job: str, verdict: str) -> str:
        """Number of a new version."""
        run = self.client.create_run("0", tags={"vernacular.dev/verdict": verdict}).info.run_id
        source, tags = f"runs:/{run}/adapter", {"vernacular.dev/name": job}
        made = self.client.create_model_version(self.model, source=source, run_id=run, tags=tags)
        return str(made.version)

    def publish(self, verdict: str) -> Shell:
        counts = {"correct": 1, "wrong": 1, "declined": 0}
        evaluation = {"verdict": verdict, "summary": "So so.", "base": counts, "tuned": counts}
        status = {
            "state": "Succeeded",
            "conditions": [condition("Complete", "True", "JobSucceeded")],
            "mlflow": {"registeredModel": self.model, "modelVersion": "2", "url": self.url},
            "evaluation": {**evaluation, "gainPoints": {"value": 0, "low": 0, "high": 0}},
        }
        self.jobs.make("hr-bot", status)
        uid = self.jobs.read("hr-bot")["metadata"]["uid"]
        self.client.set_model_version_tag(self.model, "2", "vernacular.dev/uid", uid)
        return self.shell

    @property
    def champion(self) -> str:
        return str(self.client.get_model_version_by_alias(self.model, "champion").version)


@pytest.fixture
def world(api_server: ApiServer, mlflow_server: MlflowServer, tmp_path: Path) -> World:
    return World(api_server, mlflow_server, tmp_path)


def test_promotion_and_the_way_back(world: World) -> None:
    shell = world.publish("Promote")

    done = shell.run("promote", "hr-bot")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{world.model} version 2 is champion now;"
        f" vernacular promote hr-bot --version 1 -n {world.namespace} takes it back.\n"
    )
    assert world.champion == "2"
    assert world.client.get_model_version(world.model, "2").tags["vernacular.dev/replaced-version"] == "1"
    assert "is champion already" in shell.run("promote", "hr-bot").stdout

    assert shell.run("promote", "hr-bot", "--version", "1").returncode == 0
    assert world.champion == "1"


def test_a_verdict_that_says_no_is_asked_about(world: World) -> None:
    shell = world.publish("Hold")

    refused = shell.run("promote", "hr-bot")
    assert refused.returncode == 1
    assert "The verdict is Hold. So so. Promote it all the same?" in refused.stderr
    assert world.champion == "1"

    assert shell.run("promote", "hr-bot", "--yes").returncode == 0
    assert world.champion == "2"


def test_the_verdict_on_another_version_is_that_of_its_run(world: World) -> None:
    shell = world.publish("Promote")
    held, good = world.register("hr-bot-3", "Hold"), world.register("hr-bot-4", "Promote")

    refused = shell.run("promote", "hr-bot", "--version", held)
    assert refused.returncode == 1
    assert f"The verdict on version {held} is Hold. Promote it all the same?" in refused.stderr
    assert world.champion == "1"

    assert shell.run("promote", "hr-bot", "--version", good).returncode == 0
    assert world.champion == good


def test_the_way_back_is_the_way_that_was_gone(world: World) -> None:
    shell = world.publish("Promote")
    world.client.set_registered_model_alias(world.model, "test", "1")

    done = shell.run("promote", "hr-bot", "--alias", "test", "--mlflow", world.address)

    back = f"vernacular promote hr-bot --version 1 --alias test --mlflow {world.address} -n {world.namespace}"
    assert f"; {back} takes it back." in done.stdout
    assert shell.run(*back.split()[1:]).returncode == 0
    assert world.client.get_model_version_by_alias(world.model, "test").version == "1"


def test_a_version_of_another_job(world: World) -> None:
    shell = world.publish("Promote")
    world.client.set_model_version_tag(world.model, "2", "vernacular.dev/uid", "another")

    done = shell.run("promote", "hr-bot", "--yes")

    assert done.returncode == 1
    assert "is not of hr-bot" in done.stderr
    assert world.champion == "1"


def test_models_of_others(world: World) -> None:
    name = f"o'brien {world.namespace}"
    world.client.create_registered_model(name)
    world.client.create_model_version(name, source="s3://models/1")

    done = world.publish("Promote").run("models", "--all")

    assert done.returncode == 0, done.stderr
    assert name in done.stdout


def test_models_versions_and_aliases(world: World) -> None:
    lines = world.publish("Promote").run("models").stdout.splitlines()

    assert [line.split()[:4] for line in lines] == [
        ["MODEL", "VERSION", "ALIASES", "JOB"],
        [world.model, "2", "-", "hr-bot"],
        [world.model, "1", "champion", "hr-bot-1"],
    ]


def test_a_model_that_is_gone(world: World) -> None:
    shell = world.publish("Promote")
    world.client.delete_registered_model(world.model)

    done = shell.run("promote", "hr-bot")

    assert done.returncode == 1
    assert f"MLflow refuses: Registered Model with name={world.model} not found" in done.stderr


def test_an_mlflow_that_is_away(world: World) -> None:
    shell = world.publish("Promote")

    done = shell.run("models", "--mlflow", "http://127.0.0.1:9")

    assert done.returncode == 4
    assert "MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    assert "--mlflow" in done.stderr


def test_an_address_of_something_else(world: World, mlflow_server: MlflowServer) -> None:
    done = world.publish("Promote").run("models", "--mlflow", f"{mlflow_server.uri}/health")

    assert done.returncode == 4
    assert "is no MLflow server" in done.stderr
