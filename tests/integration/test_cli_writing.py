"""Jobs that the command line creates, changes and deletes on a real API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.cli_jobs import BROKEN_STATUS, TRAINING_STATUS, StoredJobs
from support.command_line import Shell, shell_in
from support.embedded_operator import User, operator_config, running_operator
from support.finetunejobs import Json
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import SimulatedKubelet, hold_until_stopped

pytestmark = pytest.mark.integration

JOB = """\
apiVersion: vernacular.dev/v1alpha1
kind: FineTuneJob
metadata: {name: hr-bot, labels: {team: hr}}
spec:
  model: {uri: hf://org/model}
  dataset: {train: [{file: data/rows.jsonl}]}
  compute: {gpusPerPod: 0}
"""


@pytest.fixture(scope="module")
def cli_namespace(api_server: ApiServer) -> str:
    return api_server.new_namespace("cli")


@pytest.fixture
def jobs(api_server: ApiServer, cli_namespace: str) -> StoredJobs:
    stored = StoredJobs(api_server, cli_namespace)
    for name in stored.names():
        stored.delete(name)
    return stored


@pytest.fixture
def shell(api_server: ApiServer, cli_namespace: str, tmp_path: Path) -> Shell:
    made = shell_in(api_server, cli_namespace, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text(f'{{"text": "{tmp_path.name}"}}\n')
    (tmp_path / "job.yaml").write_text(JOB)
    return made


def config_maps(server: ApiServer, namespace: str, folder: Path) -> list[Json]:
    """ConfigMaps with the rows of this test."""
    found = server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]
    return [item for item in found if folder.name in json.dumps(item.get("data", {}))]


def test_a_job_with_its_data(
    jobs: StoredJobs, shell: Shell, api_server: ApiServer, cli_namespace: str, tmp_path: Path
) -> None:
    done = shell.run("submit", "job.yaml")

    assert done.returncode == 0, done.stderr
    (config_map,) = config_maps(api_server, cli_namespace, tmp_path)
    assert done.stdout.splitlines() == [
        f"data/rows.jsonl is in ConfigMap {config_map['metadata']['name']}.",
        f"hr-bot is created in namespace {cli_namespace}.",
    ]
    stored = jobs.read("hr-bot")
    reference = {"name": config_map["metadata"]["name"], "key": "rows.jsonl"}
    assert stored["spec"]["dataset"]["train"] == [{"configMap": reference}]
    assert stored["metadata"]["labels"] == {"team": "hr"}
    # the same data once more: the ConfigMap is there already
    again = shell.run("submit", "job.yaml", "--name", "hr-bot-2")
    assert again.returncode == 0, again.stderr
    assert len(config_maps(api_server, cli_namespace, tmp_path)) == 1


def test_a_dry_run_creates_nothing(
    jobs: StoredJobs, shell: Shell, api_server: ApiServer, cli_namespace: str, tmp_path: Path
) -> None:
    done = shell.run("submit", "job.yaml", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"hr-bot would be created in namespace {cli_namespace}.\n"
    assert jobs.names() == []
    assert config_maps(api_server, cli_namespace, tmp_path) == []


def test_a_job_that_is_wrong_never_reaches_the_cluster(jobs: StoredJobs, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("gpusPerPod", "gpuPerPod"))

    done = shell.run("submit", "job.yaml")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "job.yaml:7: spec.compute.gpuPerPod: unknown field gpuPerPod; did you mean gpusPerPod?",
        "Error: 1 problem found; nothing was created",
        "  mend the lines above",
    ]
    assert jobs.names() == []


def test_a_name_that_is_taken(
    jobs: StoredJobs, shell: Shell, api_server: ApiServer, cli_namespace: str, tmp_path: Path
) -> None:
    jobs.make("hr-bot")

    done = shell.run("submit", "job.yaml")

    assert done.returncode == 1
    assert f"there is a FineTuneJob hr-bot in namespace {cli_namespace} already" in done.stderr
    assert "--name" in done.stderr
    assert config_maps(api_server, cli_namespace, tmp_path) == []


def test_a_namespace_that_is_not_there(jobs: StoredJobs, shell: Shell) -> None:
    done = shell.run("submit", "job.yaml", "-n", "no-such-namespace")

    assert done.returncode == 1
    assert 'namespaces "no-such-namespace" not found' in done.stderr


def test_two_namespaces(jobs: StoredJobs, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("{name: hr-bot", "{namespace: a, name: hr-bot"))

    done = shell.run("submit", "job.yaml", "-n", "b")

    assert "the file says namespace a, and the command line b" in done.stderr


def test_what_a_cluster_wrote_can_be_submitted_again(jobs: StoredJobs, shell: Shell, tmp_path: Path) -> None:
    # texts that YAML would read as numbers
    spec = {"model": {"uri": "hf://org/model", "revision": "12e4567"}, "objective": "DPO", "dpo": {"beta": "1e-1"}}
    jobs.make("hr-bot", BROKEN_STATUS, **spec, training={"learningRate": "2e-4"})
    (tmp_path / "old.yaml").write_text(shell.run("describe", "hr-bot", "-o", "yaml").stdout)

    done = shell.run("submit", "old.yaml", "--name", "hr-bot-2")

    assert done.returncode == 0, done.stderr
    assert jobs.read("hr-bot-2")["spec"] == jobs.read("hr-bot")["spec"]


def test_suspend_and_resume(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    assert "is being suspended" in shell.run("suspend", "hr-bot").stdout
    assert jobs.read("hr-bot")["spec"]["runPolicy"]["suspend"] is True
    assert "is suspended already" in shell.run("suspend", "hr-bot").stdout
    assert "goes on" in shell.run("resume", "hr-bot").stdout
    assert jobs.read("hr-bot")["spec"]["runPolicy"]["suspend"] is False
    assert "is not suspended" in shell.run("resume", "hr-bot").stdout


@pytest.mark.parametrize("verb", ["suspend", "resume", "cancel"])
def test_a_job_that_has_ended(jobs: StoredJobs, shell: Shell, verb: str) -> None:
    jobs.make("hr-bot", BROKEN_STATUS)

    done = shell.run(verb, "hr-bot")

    assert done.returncode == 1
    assert "hr-bot has ended already: Failed" in done.stderr
    assert "vernacular retry hr-bot" in done.stderr


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_nothing_is_destroyed_without_a_word(jobs: StoredJobs, shell: Shell, verb: str) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    done = shell.run(verb, "hr-bot")

    assert done.returncode == 1
    assert "add --yes to agree" in done.stderr
    assert jobs.names() == ["hr-bot"]
    assert "activeDeadlineSeconds" not in jobs.read("hr-bot")["spec"]["runPolicy"]


@pytest.mark.parametrize(("answer", "status", "left"), [("n\n", 1, ["hr-bot"]), ("\n", 1, ["hr-bot"]), ("y\n", 0, [])])
def test_a_person_is_asked(jobs: StoredJobs, shell: Shell, answer: str, status: int, left: list[str]) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    with shell.terminal("delete", "hr-bot") as screen:
        screen.until("Its workspace goes with it, and the checkpoints there. [y/N]")
        screen.type(answer)
        assert screen.end() == status

    assert jobs.names() == left


def test_delete_with_consent(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot")

    assert shell.run("delete", "hr-bot", "--yes").stdout == "hr-bot is being deleted.\n"
    assert jobs.names() == []


def test_retry_makes_a_new_job(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", BROKEN_STATUS, runPolicy={"maxRestarts": 7})

    first, second = shell.run("retry", "hr-bot"), shell.run("retry", "hr-bot", "--name", "other")

    assert first.stdout == "hr-bot-2 is made, with the spec of hr-bot.\n", first.stderr
    assert second.returncode == 0
    assert jobs.names() == ["hr-bot", "hr-bot-2", "other"]
    assert jobs.read("hr-bot-2")["spec"] == jobs.read("hr-bot")["spec"]


def test_logs_of_a_job_whose_pods_are_gone(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    done = shell.run("logs", "hr-bot")

    assert done.returncode == 1
    assert "train, attempt 2, rank 0 of hr-bot has no pod here" in done.stderr


async def test_the_operator_ends_a_cancelled_job(
    api_server_with_controllers: ApiServer,
    mlflow_server: MlflowServer,
    kubelet: SimulatedKubelet,
    user: User,
    tmp_path: Path,
) -> None:
    kubelet.script = lambda _: hold_until_stopped(0)
    command = shell_in(api_server_with_controllers, user.namespace, tmp_path)
    async with running_operator(api_server_with_controllers, operator_config(mlflow_server.uri, user.namespace)):
        await user.create("hr-bot")
        await user.until_state("hr-bot", "Preparing")
        assert command.run("suspend", "hr-bot").returncode == 0
        await user.until_state("hr-bot", "Suspended")
        assert command.run("cancel", "hr-bot", "--yes").returncode == 0
        job = await user.until_state("hr-bot", "Failed")

    assert job["status"]["failure"]["code"] == "DeadlineExceeded"
