"""Finding the models that were made of a row, and removing all that is left of one, on real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs
from support.command_line import shell_in
from support.mlflow_server import MlflowServer
from vernacular_trainer.data.lookup import digests_of

pytestmark = pytest.mark.integration

ROWS = '{"prompt": "How long is the leave?", "completion": "Thirty days."}\n{"prompt": "Who?", "completion": "Jo."}\n'


class World:
    """A namespace with published jobs: resource, claim, ConfigMap, run with artifacts, registered version."""

    def __init__(self, server: ApiServer, mlflow: MlflowServer, folder: Path) -> None:
        self.server = server
        self.namespace = server.new_namespace("cli")
        self.client = MlflowClient(mlflow.uri)
        self.experiment = self.client.create_experiment(self.namespace)
        self.address = mlflow.uri
        self.artifacts = mlflow.folder / "artifacts"
        self.jobs = StoredJobs(server, self.namespace)
        self.folder = folder
        self.shell = shell_in(server, self.namespace, folder)
        (folder / "rows.jsonl").write_text(ROWS)
        self.model = f"{self.namespace}.hr-bot"

    def path(self, plural: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}{name and '/' + name}"

    def names(self, plural: str) -> list[str]:
        found = self.server.request("GET", self.path(plural))["items"]
        return [item["metadata"]["name"] for item in found if item["metadata"]["name"] != "kube-root-ca.crt"]

    def submit(self, name: str) -> str:
        """Make a job with the rows of the file, as a cluster would have it when it has published; its run."""
        source = {"configMap": {"name": "rows-0123456789abcdef0123", "key": "rows.jsonl"}}
        labels = {"app.kubernetes.io/created-by": "vernacular-cli"}
        if source["configMap"]["name"] not in self.names("configmaps"):
            metadata = {"name": source["configMap"]["name"], "labels": labels}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"rows.jsonl": ROWS}}
            self.server.request("POST", self.path("configmaps"), body)
        self.jobs.make(name, dataset={"train": [source]})
        uid = self.jobs.read(name)["metadata"]["uid"]
        self.claim(name, uid)
        run_id = self.publish(name, uid)
        url = f"{self.address}/#/experiments/{self.experiment}/runs/{run_id}"
        mlflow = {"runID": run_id, "url": url, "registeredModel": self.model, "modelVersion": "1"}
        self.jobs.report(name, {"state": "Succeeded", "startTime": "2026-01-02T03:00:00Z", "mlflow": mlflow})
        return run_id

    def claim(self, name: str, uid: str) -> None:
        metadata = {"name": f"{name}-workspace", "labels": {"vernacular.dev/job-uid": uid}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        self.server.request("POST", self.path("persistentvolumeclaims"), claim)

    def publish(self, name: str, uid: str) -> str:
        tags = {"namespace": self.namespace, "name": name, "uid": uid}
        marks = {f"vernacular.dev/{key}": value for key, value in tags.items()}
        run_id = str(self.client.create_run(self.experiment, tags=marks).info.run_id)
        listed = [digest for _, digest in digests_of(self.folder / "rows.jsonl", {})]
        (self.folder / "row-digests.csv").write_text(f"digest,use\n{listed[0]},train\n{listed[1]},test\n")
        self.client.log_artifact(run_id, str(self.folder / "row-digests.csv"), "reports")
        try:
            self.client.create_registered_model(self.model)
        except MlflowException:
            assert self.client.get_registered_model(self.model)
        version = self.client.create_model_version(self.model, source=f"runs:/{run_id}/reports", run_id=run_id)
        self.client.set_registered_model_alias(self.model, "champion", version.version)
        return run_id


@pytest.fixture
def world(api_server: ApiServer, mlflow_server: MlflowServer, tmp_path: Path) -> World:
    return World(api_server, mlflow_server, tmp_path)


def test_a_row_leads_to_job_run_and_version(world: World) -> None:
    run_id = world.submit("hr-bot")
    (world.folder / "one.csv").write_text("question,answer\nhow  LONG is the leave?,thirty days.\n")

    done = world.shell.run("who-trained-on", "one.csv", "-o", "json")
    both = world.shell.run("who-trained-on", "rows.jsonl")

    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["found"]
    assert (found["job"], found["namespace"], found["run"]) == ("hr-bot", world.namespace, run_id)
    assert (found["trained"], found["tested"]) == (["one.csv:2"], [])
    assert [(item["model"], item["number"], item["aliases"]) for item in found["versions"]] == [
        (world.model, 1, ["champion"])
    ]
    assert both.stdout.splitlines()[1].split("   ")[:4] == ["hr-bot", world.namespace, "1 of 2 rows", "1 of 2 rows"]


def test_a_row_that_nobody_used(world: World) -> None:
    world.submit("hr-bot")
    world.jobs.make("silent", {"state": "Training", "startTime": "2026-01-02T03:00:00Z"})
    (world.folder / "other.jsonl").write_text('{"prompt": "How long is the leave?", "completion": "Ten days."}\n')

    lines = world.shell.run("who-trained-on", "other.jsonl").stdout.splitlines()

    assert lines[0] == "No published model was made of 1 such row."
    assert lines[2].endswith(f"published no list of their rows: {world.namespace}/silent")


def test_jobs_that_are_gone_and_runs_in_the_trash_are_found(world: World) -> None:
    run_id = world.submit("hr-bot")
    world.jobs.delete("hr-bot")
    world.client.delete_run(run_id)

    done = world.shell.run("who-trained-on", "rows.jsonl", "-o", "json", "--mlflow", world.address)

    (found,) = json.loads(done.stdout)["found"]
    assert (found["run"], found["deleted"]) == (run_id, True)


def test_a_file_without_rows(world: World) -> None:
    (world.folder / "odd.jsonl").write_text('{"nothing": 1}\n')

    done = world.shell.run("who-trained-on", "odd.jsonl", "--mlflow", world.address)

    assert done.returncode == 1
    assert "odd.jsonl:1" in done.stderr
    assert "there is no row to ask about" in done.stderr


def test_first_it_is_said_what_would_go(world: World) -> None:
    run_id = world.submit("hr-bot")

    done = world.shell.run("purge", "hr-bot", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:8] == [
        "Would be removed:",
        f"  FineTuneJob hr-bot of namespace {world.namespace}",
        "  claim hr-bot-workspace, with checkpoints and rows",
        "  ConfigMap rows-0123456789abcdef0123, with rows",
        f"  {world.model} version 1, which champion points to",
        f"  artifacts of run {run_id}",
        f"  run {run_id}",
        "",
    ]
    assert f"mlflow gc --backend-store-uri DATABASE --run-ids {run_id}" in done.stdout
    assert world.jobs.names() == ["hr-bot"]


def test_everything_goes_when_its_name_is_typed(world: World) -> None:
    run_id = world.submit("hr-bot")
    files = world.artifacts / world.experiment / run_id
    assert list(files.rglob("row-digests.csv"))

    with world.shell.terminal("purge", "hr-bot", columns=140) as screen:
        screen.until("Type hr-bot to agree: ")
        screen.type("hr-bot\n")
        assert screen.end() == 0, screen.raw

    assert "Not removed" in screen.raw
    assert world.jobs.names() == []
    assert world.names("configmaps") == []
    # the server keeps a claim until the controller that this test has not lets it go
    claims = world.server.request("GET", world.path("persistentvolumeclaims"))["items"]
    assert all("deletionTimestamp" in item["metadata"] for item in claims)
    assert not list(files.rglob("row-digests.csv"))
    assert world.client.get_run(run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="not found"):
        world.client.get_registered_model(world.model)


def test_another_word_removes_nothing(world: World) -> None:
    world.submit("hr-bot")

    with world.shell.terminal("purge", "hr-bot") as screen:
        screen.until("to agree: ")
        screen.type("y\n")
        assert screen.end() == 1

    assert "Nothing was removed." in screen.raw
    assert world.jobs.names() == ["hr-bot"]
    piped = world.shell.run("purge", "hr-bot")
    assert piped.returncode == 1
    assert "add --yes to agree" in piped.stderr


def test_rows_and_model_that_another_job_needs_stay(world: World) -> None:
    world.submit("hr-bot")
    kept = world.submit("hr-bot-2")

    assert world.shell.run("purge", "hr-bot", "--yes").returncode == 0

    assert world.names("configmaps") == ["rows-0123456789abcdef0123"]
    assert [item.run_id for item in world.client.search_model_versions(f"name = '{world.model}'")] == [kept]


def test_a_job_that_is_gone_is_purged_by_its_run(world: World) -> None:
    run_id = world.submit("hr-bot")
    world.jobs.delete("hr-bot")

    done = world.shell.run("purge", "hr-bot", "--yes", "--mlflow", world.address)

    assert done.returncode == 0, done.stderr
    assert "  claim hr-bot-workspace" in done.stdout
    assert world.client.get_run(run_id).info.lifecycle_stage == "deleted"


def test_nothing_is_left(world: World) -> None:
    done = world.shell.run("purge", "hr-bto", "--yes", "--mlflow", world.address)

    assert done.returncode == 1
    assert f"nothing is left of a FineTuneJob hr-bto in namespace {world.namespace}" in done.stderr
