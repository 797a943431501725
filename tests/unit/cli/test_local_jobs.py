"""Jobs on this machine without a cluster: their documents, their plan, and what only a cluster has."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell
from support.hub_server import HubServer
from vernacular.api import Stage
from vernacular_local.config import Place, stage_config, typed_job
from vernacular_local.pipeline import Pipeline, secrets_of
from vernacular_local.planned import Pace, estimate
from vernacular_local.request import LocalError, LocalFile, LocalRequest
from vernacular_local.state import State, load_state
from vernacular_operator.config import Images, Mlflow, OperatorConfig
from vernacular_operator.manifests.job_config import Attempt, job_config

MODEL = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip
SPEC: dict[str, Any] = {
    "model": {"uri": "hf://org/model", "credentials": {"secretName": "hub"}},
    "dataset": {"train": [{"configMap": {"name": "local", "key": "file-0"}}, {"uri": "s3://rows/more.jsonl"}]},
    "evaluation": {"questions": {"configMap": {"name": "local", "key": "file-1"}}, "gate": {"minCorrectPercent": 80}},
    "method": {"type": "LoRA", "lora": {"rank": 8}},
    "compute": {"pods": 2, "gpusPerPod": 4},
    "training": {"epochs": 3, "learningRate": "1e-4"},
    "checkpoints": {"everySteps": 7},
}
JOB = {
    "apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "hr-bot"}, "spec": SPEC,
}  # fmt: skip
FILES = {"file-0": LocalFile("rows.jsonl", "/data/rows.jsonl"), "file-1": LocalFile("q.jsonl", "/data/q.jsonl")}
REQUEST = LocalRequest(JOB, FILES, tracking="sqlite:////work/mlflow.db")
PLACE = Place("/work/workspace", "/secrets")


def attempt(request: LocalRequest, stage: Stage = Stage.TRAIN) -> Attempt:
    return Attempt(typed_job(request, "uid-1"), stage, 2, "run-1")


def test_the_document_is_the_operators_but_for_what_this_machine_is() -> None:
    operator = OperatorConfig(images=Images(data="d", trainer="t"), mlflow=Mlflow(tracking_uri="http://mlflow"))
    theirs = job_config(attempt(REQUEST), operator)

    ours = stage_config(REQUEST, attempt(REQUEST), PLACE)

    for part in (
        "stage",
        "attempt",
        "identity",
        "objective",
        "method",
        "training",
        "checkpoints",
        "publish",
        "contract",
    ):
        assert getattr(ours, part) == getattr(theirs, part), part
    assert ours.evaluation.gate == theirs.evaluation.gate
    assert [source.path for source in ours.dataset.train] == ["/data/rows.jsonl", ""]
    assert ours.dataset.train[0].name == "rows.jsonl"
    assert ours.evaluation.questions is not None
    assert ours.evaluation.questions.path == "/data/q.jsonl"
    assert ours.model.path == "/work/workspace/model"
    assert (ours.tracking.uri, ours.tracking.run_id) == ("sqlite:////work/mlflow.db", "run-1")


def test_prepare_finds_secrets_of_the_environment_where_the_job_names_one() -> None:
    config = stage_config(REQUEST, attempt(REQUEST, Stage.PREPARE), PLACE)

    assert (config.model.credentials_name, config.model.credentials_path) == ("hub", "/secrets")
    assert config.dataset.train[1].credentials_path == ""


def test_rows_that_are_held_out_are_read_where_they_are() -> None:
    dataset = {**SPEC["dataset"], "validation": {"sources": [{"configMap": {"name": "local", "key": "file-1"}}]}}
    request = replace(REQUEST, job={**JOB, "spec": {**SPEC, "dataset": dataset}})

    config = stage_config(request, attempt(request, Stage.PREPARE), PLACE)

    assert [(source.name, source.path) for source in config.dataset.validation] == [("q.jsonl", "/data/q.jsonl")]


def test_other_models_and_servers_find_the_keys_of_this_machine() -> None:
    server = {"endpoint": "https://models.example.com/v1", "model": "m", "credentials": {"secretName": "models"}}
    asked = {**SPEC["evaluation"], "judge": server, "embeddings": server}
    wandb = {"weightsAndBiases": {"project": "hr", "mode": "Online", "secretName": "wandb"}}
    dataset = {"train": [{"uri": "https://files.example.com:8443/a.jsonl", "credentials": {"secretName": "files"}}]}
    dataset["train"].append({"uri": "s3://rows/b.jsonl", "endpoint": "http://127.0.0.1:9000"})
    dataset["train"].append({"uri": "s3://rows/c.jsonl", "endpoint": "http://127.0.0.2"})
    spec = {**SPEC, "evaluation": asked, "tracking": wandb, "dataset": dataset}
    request = replace(REQUEST, job={**JOB, "spec": spec})

    evaluate, publish, prepare = (
        stage_config(request, attempt(request, stage), PLACE)
        for stage in (Stage.EVALUATE, Stage.PUBLISH, Stage.PREPARE)
    )

    assert evaluate.evaluation.judge
    assert evaluate.evaluation.judge.service.credentials_path == "/secrets"
    assert evaluate.evaluation.embeddings
    assert evaluate.evaluation.embeddings.credentials_path == "/secrets"
    assert publish.weights_and_biases
    assert publish.weights_and_biases.credentials_path == "/secrets"
    assert prepare.dataset.train[0].credentials_path == "/secrets"
    assert prepare.https.allows("files.example.com", 8443)
    assert not prepare.https.allows("files.example.com", 443)
    assert prepare.https.names("127.0.0.1", 9000)
    assert prepare.https.names("127.0.0.2", 80)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "WANDB_API_KEY", "HTTPS_TOKEN"])
def test_keys_of_the_environment_are_files_while_a_job_runs(name: str) -> None:
    with secrets_of({name: "key", "HOME": "/home/me"}) as folder:
        assert [(path.name, path.read_text()) for path in Path(folder).iterdir()] == [(name, "key")]
    assert not Path(folder).exists()


def test_all_ranks_run_here() -> None:
    assert stage_config(REQUEST, attempt(REQUEST), PLACE).compute.gpus_per_pod == 8
    assert stage_config(REQUEST, attempt(REQUEST), PLACE).compute.world_size == 8
    without = stage_config(replace(REQUEST, gpus=0), attempt(REQUEST), PLACE).compute
    assert (without.pods, without.gpus_per_pod, without.rendezvous_host) == (1, 0, "")
    fewer = stage_config(replace(REQUEST, gpus=2), attempt(REQUEST), PLACE).compute
    assert (fewer.gpus_per_pod, fewer.world_size) == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": {"train": [{"configMap": {"name": "rows", "key": "a.jsonl"}}]}}, "ConfigMap rows, key a.jsonl"),
        ({"dataset": {"train": [{"uri": "pvc://data/a.jsonl"}]}}, "pvc://data/a.jsonl is in a cluster"),
        ({"model": {"uri": "pvc://models/tiny"}}, "is on a claim of a cluster"),
        ({"trainer": {"image": "example.com/own:1", "command": ["train"]}}, "a trainer of its own"),
    ],
)
def test_what_only_a_cluster_has(changes: dict[str, Any], message: str) -> None:
    request = replace(REQUEST, job={**JOB, "spec": {**SPEC, **changes}})

    with pytest.raises(LocalError, match=message):
        stage_config(request, attempt(request), PLACE)


def test_what_was_asked_is_read_again() -> None:
    assert LocalRequest.from_json(REQUEST.to_json()) == REQUEST


def test_how_far_a_job_is_outlives_its_process(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    state = State("uid-1", "run-1").begun(Stage.PREPARE).finished(Stage.PREPARE, {"rows": 7}).begun(Stage.TRAIN)

    state.save(tmp_path)

    assert load_state(tmp_path) == State("uid-1", "run-1", {"Prepare": 1, "Train": 1}, {"Prepare": {"rows": 7}})


def test_a_job_runs_once_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file, (tmp_path / "out").open("w") as out:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LocalError, match="runs already"):
            Pipeline(REQUEST, tmp_path, out, os.environ).run()


def test_time_and_cost_by_the_pace_of_another_job() -> None:
    pace = Pace("hr-bot", 10_000, 4, 250, "2.50", "EUR")

    assert estimate(pace, 144_000, 8, 8) == [
        "training: about 30 min, by the pace of hr-bot: 10,000 tokens/s on 4, 250 tokens a row",
        "cost: about 4.00 GPU hours, 10.00 EUR, without preparing and evaluating",
    ]
    assert len(estimate(pace, 144_000, 8, 0)) == 1


# through the command line


def write_job(folder: Path, **spec: Any) -> None:
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (folder / "tiny").mkdir(exist_ok=True)
    (folder / "tiny" / "config.json").write_text(json.dumps(MODEL))
    dataset = {"train": [{"file": "rows.jsonl"}]}
    plain = {"model": {"uri": "hf://org/model"}, "method": {"type": "LoRA"}, "compute": {"gpusPerPod": 1}}
    (folder / "job.json").write_text(json.dumps({**JOB, "spec": {**plain, "dataset": dataset, **spec}}))


def test_a_plan_before_anything_is_submitted(tmp_path: Path) -> None:
    write_job(tmp_path)

    done = Shell(None, tmp_path).run("plan", "job.json", "--model", "tiny", "--gpu-memory", "80GiB")

    assert done.returncode == 0, done.stderr
    assert "learningRate           0.0002" in done.stdout
    assert " of 80: fits" in done.stdout


def test_a_plan_that_does_not_fit_says_what_to_change(tmp_path: Path) -> None:
    write_job(tmp_path, method={"type": "Full"})

    done = Shell(None, tmp_path).run("plan", "job.json", "--model", "tiny", "--gpu-memory", "16GiB")

    assert done.returncode == 1
    assert "  total" in done.stdout
    assert done.stderr.startswith("Error: ")
    assert "QLoRA" in done.stderr or "LoRA" in done.stderr


def test_the_sizes_of_a_model_of_the_hub_are_read_from_the_heads_of_its_files(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    write_job(tmp_path)
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "config.json").write_text(json.dumps({**MODEL, "num_hidden_layers": 1}))
    save_file({"model.layers.0.self_attn.q_proj.weight": torch.zeros(4096, 64)}, hub / "model.safetensors")
    with HubServer("org/model", hub) as server:
        environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        done = Shell(None, tmp_path, environment).run("plan", "job.json")

    assert done.returncode == 0, done.stderr
    assert "memory of one rank" in done.stdout


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    write_job(tmp_path)
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}

    done = Shell(None, tmp_path, environment).run("plan", "job.json")

    assert done.returncode == 1
    assert "the hub does not give hf://org/model" in done.stderr
    assert "--model" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_job_with_mistakes(tmp_path: Path, verb: str) -> None:
    write_job(tmp_path, training={"epoch": 3})

    done = Shell(None, tmp_path).run(verb, "job.json")

    assert done.returncode == 1
    assert "unknown field epoch" in done.stderr


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    write_job(tmp_path)

    done = Shell(None, tmp_path).run("run", "job.json", "--model", "nowhere")

    assert done.returncode == 1
    assert "nowhere is no folder of a model" in done.stderr


def test_a_login_is_not_written_down(tmp_path: Path) -> None:
    write_job(tmp_path)

    done = Shell(None, tmp_path).run("run", "job.json", "--model", "tiny", "--mlflow", "https://me:secret@mlflow")

    assert done.returncode == 1
    assert "holds a login" in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "vernacular-runs").exists()


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    write_job(tmp_path)
    (tmp_path / "rows.jsonl").unlink()

    assert "there is no such file" in Shell(None, tmp_path).run("run", "job.json", "--model", "tiny").stderr


def test_a_folder_of_another_job(tmp_path: Path) -> None:
    write_job(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "request.json").write_text("{}")

    done = Shell(None, tmp_path).run("run", "job.json", "--model", "tiny", "--work", "work")

    assert done.returncode == 1
    assert "holds another job, or this one before it was changed" in done.stderr
    assert (tmp_path / "work" / "request.json").read_text() == "{}"


@pytest.mark.parametrize("changed", ["rows.jsonl", "tiny/config.json", "tiny/model.safetensors"])
def test_what_was_made_of_other_files_is_not_gone_on_with(tmp_path: Path, changed: str) -> None:
    # a claim ends it as soon as the job is kept
    write_job(tmp_path, dataset={"train": [{"file": "rows.jsonl"}, {"uri": "pvc://data/rows.jsonl"}]})
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"weights")
    command = ("run", "job.json", "--model", "tiny", "--work", "work")
    assert "is in a cluster" in Shell(None, tmp_path).run(*command).stderr
    assert "is in a cluster" in Shell(None, tmp_path).run(*command).stderr

    with (tmp_path / changed).open("a") as file:
        file.write("\n")

    assert "or a file or the model that it names" in Shell(None, tmp_path).run(*command).stderr


def test_a_claim_is_said_to_be_in_a_cluster(tmp_path: Path) -> None:
    write_job(tmp_path, dataset={"train": [{"uri": "pvc://data/rows.jsonl"}]})

    done = Shell(None, tmp_path).run("run", "job.json", "--model", "tiny")

    assert done.returncode == 1
    assert "Error: pvc://data/rows.jsonl is in a cluster, and not on this machine" in done.stderr
