"""A whole job on this machine, as a person runs it: whose terminal is closed in the middle, and run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.command_line import Shell
from support.stage_jobs import handbook_rows, write_lines
from support.tiny_model import build_tiny_model

pytestmark = pytest.mark.slow

JOB = """
apiVersion: vernacular.dev/v1alpha1
kind: FineTuneJob
metadata: {name: hr-bot}
spec:
  model: {uri: hf://org/tiny}
  dataset: {train: [{file: rows.jsonl}]}
  method: {type: LoRA}
  compute: {gpusPerPod: 0}
  training: {maxSteps: 300, evaluateEverySteps: 300, maxSequenceLength: 32, effectiveBatchSize: 2}
  checkpoints: {everySteps: 10}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def test_a_job_that_a_person_must_mend(model: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", handbook_rows(3))
    (tmp_path / "job.yaml").write_text(JOB)

    done = Shell(None, tmp_path).run("run", "job.yaml", "--model", model, "--work", "work")

    assert done.returncode == 3, done.stderr
    assert "Prepare has failed: DatasetTooSmall: the data set has 3 usable rows; at least 8 are needed" in done.stdout
    assert "add rows" in done.stdout
    state = json.loads((tmp_path / "work" / "state.json").read_text())
    # what a person must mend is not tried again
    assert (state["attempts"], state["restarts"]) == ({"Prepare": 1}, 0)
    client = MlflowClient(f"sqlite:///{tmp_path}/work/mlflow.db")
    assert client.get_run(state["run_id"]).info.status == "FAILED"


def test_stopped_and_run_again(model: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", handbook_rows(16))
    (tmp_path / "job.yaml").write_text(JOB)
    shell = Shell(None, tmp_path, {"VERNACULAR_THREADS": "1"})
    command = ("run", "job.yaml", "--model", model, "--work", "work")

    with shell.terminal(*command) as screen:
        screen.until("checkpoint saved", seconds=120)
        screen.close()
        assert screen.process.wait(60) == 85
    client = MlflowClient(f"sqlite:///{tmp_path}/work/mlflow.db")
    state = json.loads((tmp_path / "work" / "state.json").read_text())
    assert (state["attempts"], list(state["done"])) == ({"Prepare": 1, "Train": 1}, ["Prepare"])
    assert client.get_run(state["run_id"]).info.status == "KILLED"

    with shell.terminal(*command) as screen:
        done = screen.end(seconds=240)

    assert done == 0, screen.raw
    assert "local.hr-bot version 1, alias candidate" in screen.raw
    after = json.loads((tmp_path / "work" / "state.json").read_text())
    assert after["attempts"] == {"Prepare": 1, "Train": 2, "Evaluate": 1, "Publish": 1}
    assert after["done"]["Train"]["resumed_from_step"] > 0
    run = client.get_run(state["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["vernacular.dev/name"] == "hr-bot"
    assert run.data.params["learningRate"] == "0.0002"
    assert client.get_model_version_by_alias("local.hr-bot", "candidate").run_id == state["run_id"]
    adapter = Path(run.info.artifact_uri.removeprefix("file://")) / "adapter"
    assert (adapter / "adapter_model.safetensors").is_file()
