"""What jobs on this machine take from servers: the pace of a job that has run, and a run in MLflow."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs
from support.command_line import Shell, shell_in
from support.mlflow_server import MlflowServer
from support.stage_jobs import make_job
from vernacular_local.pipeline import Pipeline
from vernacular_local.records import close_run, open_run
from vernacular_local.request import LocalError, LocalRequest
from vernacular_trainer.contract import TrackingConfig

pytestmark = pytest.mark.integration

MODEL = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 512,
}  # fmt: skip
TRAINED: dict[str, Any] = {
    "progress": {"step": 10, "totalSteps": 10, "tokensPerSecond": 1000},
    "dataset": {"train": 100, "tokens": 20_000},
    "runtime": {"name": "gpus", "spec": {"cost": {"gpuPricePerHour": "2.50", "currency": "EUR"}}},
}
SPEC: dict[str, Any] = {
    "model": {"uri": "hf://org/model"},
    "dataset": {"train": [{"configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "compute": {"pods": 2, "gpusPerPod": 1},
}


@pytest.fixture
def jobs(api_server: ApiServer) -> tuple[StoredJobs, str]:
    namespace = api_server.new_namespace("cli")
    return StoredJobs(api_server, namespace), namespace


@pytest.fixture
def shell(api_server: ApiServer, jobs: tuple[StoredJobs, str], tmp_path: Path) -> Shell:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps(MODEL))
    document = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "new"}}
    # a plan reads no rows, so that those of a cluster are no hindrance
    spec = {**SPEC, "dataset": {"train": [{"file": "rows.jsonl"}]}}
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "job.json").write_text(json.dumps({**document, "spec": spec}))
    return shell_in(api_server, jobs[1], tmp_path)


def test_time_and_cost_are_those_of_a_job_like_it(jobs: tuple[StoredJobs, str], shell: Shell) -> None:
    jobs[0].make("hr-bot", TRAINED, compute={"pods": 1, "gpusPerPod": 1})

    done = shell.run("plan", "job.json", "--model", "tiny", "--like", "hr-bot")

    assert done.returncode == 0, done.stderr
    training, cost = done.stdout.splitlines()[-2:]
    assert training.endswith("by the pace of hr-bot: 1,000 tokens/s on 1, 200 tokens a row")
    assert cost.startswith("cost: about ")
    assert " EUR, without preparing" in cost


def test_time_and_cost_are_left_out_while_nobody_knows_the_rows(jobs: tuple[StoredJobs, str], shell: Shell) -> None:
    jobs[0].make("hr-bot", TRAINED, compute={"pods": 1, "gpusPerPod": 1})
    document = json.loads((shell.home / "job.json").read_text())
    document["spec"]["dataset"]["train"] = [{"uri": "s3://rows/all.jsonl"}]
    (shell.home / "away.json").write_text(json.dumps(document))

    away = shell.run("plan", "away.json", "--model", "tiny", "--like", "hr-bot")
    here = shell.run("plan", "away.json", "--model", "tiny", "--like", "hr-bot", "--data", "rows.jsonl")

    assert away.returncode == 0, away.stderr
    assert "cost: about" not in away.stdout
    assert away.stdout.splitlines()[-2:] == [
        "training time and cost are not known: the rows of s3://rows/all.jsonl are not on this machine",
        "name the rows on this machine with --data, or as {file: PATH}, and they are counted",
    ]
    assert "cost: about " in here.stdout


def test_a_job_that_says_nothing_about_this_one(jobs: tuple[StoredJobs, str], shell: Shell) -> None:
    jobs[0].make("waiting", {"state": "Pending"})
    jobs[0].make("other", TRAINED, model={"uri": "hf://org/other"})

    waiting = shell.run("plan", "job.json", "--model", "tiny", "--like", "waiting")
    other = shell.run("plan", "job.json", "--model", "tiny", "--like", "other")

    assert (waiting.returncode, other.returncode) == (1, 1)
    assert "waiting has not trained yet" in waiting.stderr
    assert "other trained hf://org/other, and this job hf://org/model" in other.stderr


def test_a_run_in_a_server_is_opened_once(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    config, _ = make_job(tmp_path, tmp_path, tmp_path / "rows.jsonl")
    config = replace(config, tracking=TrackingConfig(mlflow_server.uri, "local.opened-once"))
    client = MlflowClient(mlflow_server.uri)

    run_id = open_run(config, "", tmp_path)
    close_run(config, run_id, "KILLED")
    assert client.get_run(run_id).info.status == "KILLED"

    assert open_run(config, run_id, tmp_path) == run_id
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["vernacular.dev/uid"]) == ("RUNNING", "uid-1")
    # the server keeps the artifacts, not this machine
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")


def test_an_mlflow_that_is_away(tmp_path: Path) -> None:
    job = {"metadata": {"name": "hr-bot"}, "spec": {**SPEC, "dataset": {"train": [{"uri": "hf://org/rows"}]}}}
    request = LocalRequest(job, tracking="http://127.0.0.1:9")

    with (tmp_path / "out").open("w") as out, pytest.raises(LocalError, match="cannot open a run"):
        Pipeline(request, tmp_path, out, os.environ).run()
