"""Finding the models that were made of a row, and removing all that is left of one, on real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs
from support.command_line import shell_in
from support.mlflow_server import MlflowServer
from vernacular.cli.mlflow import Mlflow
from vernacular.cli.registry import Registry
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

    def store(self, name: str) -> dict[str, Any]:
        """Keep the rows in a ConfigMap as `submit` does; the source that names it."""
        if name not in self.names("configmaps"):
            metadata = {"name": name, "labels": {"app.kubernetes.io/created-by": "vernacular-cli"}}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"rows.jsonl": ROWS}}
            self.server.request("POST", self.path("configmaps"), body)
        return {"configMap": {"name": name, "key": "rows.jsonl"}}

    def submit(self, name: str, **dataset: Any) -> str:
        """Make a job with the rows of the file, as a cluster would have it when it has published; its run."""
        self.jobs.make(name, dataset={"train": [self.store("rows-0123456789abcdef0123")], **dataset})
        uid = self.uid(name)
        self.claim(name, uid)
        run_id = self.publish(name, uid)
        url = f"{self.address}/#/experiments/{self.experiment}/runs/{run_id}"
        mlflow = {"runID": run_id, "url": url, "registeredModel": self.model, "modelVersion": "1"}
        self.jobs.report(name, {"state": "Succeeded", "startTime": "2026-01-02T03:00:00Z", "mlflow": mlflow})
        return run_id

    def uid(self, name: str) -> str:
        return str(self.jobs.read(name)["metadata"]["uid"])

    def run_pod(self, uid: str) -> None:
        """A pod of the job that stays until somebody deletes it: no controller of this server does."""
        metadata = {"name": "train-0", "labels": {"vernacular.dev/job-uid": uid}}
        container = {"name": "stage", "image": "example.org/none", "resources": {}}
        self.server.request("POST", self.path("serviceaccounts"), {"metadata": {"name": "default"}})
        spec = {"containers": [container], "automountServiceAccountToken": False}
        self.server.request("POST", self.path("pods"), {"metadata": metadata, "spec": spec})

    def cluster(self) -> str:
        """What an operator of this cluster calls it."""
        return str(self.server.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"])

    def claim(self, name: str, uid: str) -> None:
        metadata = {"name": f"{name}-workspace", "labels": {"vernacular.dev/job-uid": uid}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        self.server.request("POST", self.path("persistentvolumeclaims"), claim)

    def publish(self, name: str, uid: str, **other: str) -> str:
        tags = {"namespace": self.namespace, "name": name, "uid": uid, **other}
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


def test_rows_that_were_held_out_count_as_rows(world: World) -> None:
    """In both directions: another job's stay, the job's own go."""
    world.submit("hr-bot", validation={"sources": [world.store("own-0123456789abcdef0123")]})
    world.submit("hr-bot-2", validation={"sources": [world.store("rows-0123456789abcdef0123")]})
    world.jobs.make("hr-bot-3", dataset={"train": [world.store("other")]})
    world.submit("hr-bot-4", train=[world.store("more")], validation={"sources": [world.store("other")]})

    assert world.shell.run("purge", "hr-bot", "--yes").returncode == 0
    done = world.shell.run("purge", "hr-bot-4", "--yes")

    assert done.returncode == 0, done.stderr
    assert world.names("configmaps") == ["other", "rows-0123456789abcdef0123"]
    assert "the rows in ConfigMap other: other jobs or people may need it" in done.stdout


def test_another_mlflow_than_the_one_of_the_job_is_refused(world: World) -> None:
    run_id = world.submit("hr-bot")
    status = world.jobs.read("hr-bot")["status"]
    status["mlflow"]["url"] = status["mlflow"]["url"].replace(world.address, "https://mlflow.example.org")
    status["mlflow"]["runID"] = "0" * 32
    world.jobs.report("hr-bot", status)

    elsewhere = world.shell.run("purge", "hr-bot", "--yes", "--mlflow", world.address)
    status["mlflow"]["url"] = f"{world.address}/#/experiments/{world.experiment}/runs/{'0' * 32}"
    world.jobs.report("hr-bot", status)
    lost = world.shell.run("purge", "hr-bot", "--yes")

    assert (elsewhere.returncode, lost.returncode) == (1, 1)
    assert f"MLflow at {world.address} has no run {'0' * 32} of hr-bot, so that nothing was removed" in elsewhere.stderr
    assert "published to https://mlflow.example.org: name it with --mlflow" in elsewhere.stderr
    assert "delete the job with the verb delete" in lost.stderr
    assert world.jobs.names() == ["hr-bot"]
    assert world.names("persistentvolumeclaims") == ["hr-bot-workspace"]
    assert world.client.get_run(run_id).info.lifecycle_stage == "active"


def test_the_pods_end_first_and_what_they_wrote_goes_too(world: World) -> None:
    world.submit("hr-bot")
    uid = world.uid("hr-bot")
    world.run_pod(uid)

    with world.shell.terminal("purge", "hr-bot", "--yes", columns=200) as screen:
        screen.until("Waiting up to 150 s for Pod train-0 to end.")
        late = world.publish("hr-bot", uid)
        assert world.client.get_run(late).info.lifecycle_stage == "active"
        world.server.request("DELETE", world.path("pods", "train-0"))
        assert screen.end() == 0, screen.raw

    assert world.client.get_run(late).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="not found"):
        world.client.get_registered_model(world.model)


def test_of_a_shared_mlflow_only_runs_of_this_cluster_go(world: World) -> None:
    own = world.publish("hr-bot", "uid-own", cluster=world.cluster())
    foreign = world.publish("hr-bot", "uid-foreign", cluster="another-cluster")
    world.publish("hr-bot-far", "uid-far", cluster="another-cluster")

    done = world.shell.run("purge", "hr-bot", "--yes", "--mlflow", world.address)
    refused = world.shell.run("purge", "hr-bot-far", "--yes", "--mlflow", world.address)

    assert done.returncode == 0, done.stderr
    removed, _, kept = done.stdout.partition("Not removed")
    assert f"run {own}, uid uid-own, cluster {world.cluster()}, of 20" in removed
    assert f"run {foreign}, uid uid-foreign, cluster another-cluster, of 20" in kept
    assert world.client.get_run(own).info.lifecycle_stage == "deleted"
    assert world.client.get_run(foreign).info.lifecycle_stage == "active"
    assert refused.returncode == 1
    assert "no run of this name is known to be of this cluster" in refused.stderr
    assert "uid uid-far, cluster another-cluster" in refused.stderr
    assert "name the job that is meant with --uid UID" in refused.stderr

    named = world.shell.run("purge", "hr-bot", "--yes", "--mlflow", world.address, "--uid", "uid-foreign")

    assert named.returncode == 0, named.stderr
    assert world.client.get_run(foreign).info.lifecycle_stage == "deleted"


def test_what_a_job_that_is_gone_leaves_is_told(world: World) -> None:
    world.submit("hr-bot")
    old = world.uid("hr-bot")
    world.jobs.delete("hr-bot")
    world.jobs.make("hr-bot")

    with_resource = world.shell.run("purge", "hr-bot", "--dry-run", "--mlflow", world.address)
    of_the_old = world.shell.run("purge", "hr-bot", "--dry-run", "--mlflow", world.address, "--uid", old)

    assert f"of another job of this name: run {world.client.search_runs([world.experiment])[0].info.run_id}" in (
        with_resource.stdout
    )
    assert f"purge hr-bot --uid {old} --mlflow {world.address} -n {world.namespace}" in with_resource.stdout
    assert "  claim hr-bot-workspace" in of_the_old.stdout
    assert "FineTuneJob hr-bot" not in of_the_old.stdout
    assert "no job names, which may be of this one: ConfigMap rows-0123456789abcdef0123" in of_the_old.stdout
    assert f"kubectl delete configmap rows-0123456789abcdef0123 -n {world.namespace}" in of_the_old.stdout
    assert "sources, claims and the model cache that the job named" in of_the_old.stdout


def test_runs_of_a_deleted_experiment_are_found(world: World) -> None:
    run_id = world.submit("hr-bot")
    world.jobs.delete("hr-bot")
    world.client.delete_experiment(world.experiment)

    used = world.shell.run("who-trained-on", "rows.jsonl", "-o", "json", "--mlflow", world.address)
    done = world.shell.run("purge", "hr-bot", "--yes", "--mlflow", world.address)

    assert [item["run"] for item in json.loads(used.stdout)["found"]] == [run_id]
    assert done.returncode == 0, done.stderr
    assert not list((world.artifacts / world.experiment / run_id).rglob("row-digests.csv"))


def test_an_alias_that_has_moved_on_stays(world: World) -> None:
    world.submit("hr-bot")
    registry = Registry(Mlflow(world.address, {}))
    (first,) = registry.versions(world.model)
    world.submit("hr-bot-2")

    registry.delete_version(first)

    assert [(item.number, item.aliases) for item in registry.versions(world.model)] == [(2, ("champion",))]


def test_what_cannot_be_removed_does_not_hold_up_the_rest(world: World) -> None:
    run_id = world.submit("hr-bot")
    folder = world.artifacts / world.experiment / run_id / "artifacts"
    # MLflow removes no folder through a link
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")

    done = world.shell.run("purge", "hr-bot", "--yes")

    assert done.returncode == 1
    kept = done.stdout.partition("Not removed")[2]
    assert f"artifacts of run {run_id}: " in kept
    assert f"delete mlflow-artifacts:/{world.experiment}/{run_id}/artifacts in the store of MLflow" in kept
    assert world.jobs.names() == []
    assert world.client.get_run(run_id).info.lifecycle_stage == "deleted"
