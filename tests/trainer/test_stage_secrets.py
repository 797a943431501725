"""Stages with credentials, against a hub and an MLflow server that ask for them: what is refused, and what is told."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.canaries import canary, forms, found_in_files
from support.hub_server import HubServer
from support.mlflow_server import MlflowServer
from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import ExitCode, JobConfig, ModelConfig, Stage, StageReport, TrackingConfig

pytestmark = pytest.mark.slow

TOKEN, READER, WRITER, ADMIN = canary("token"), canary("reader"), canary("writer"), canary("admin")
SECRETS = {*forms(TOKEN), *forms(READER, "reader"), *forms(WRITER, "writer"), *forms(ADMIN, "admin")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server with logins: `writer` owns the experiment demo.hr-bot, `reader` may look at it."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow"), ADMIN) as running:
        running.add_user("reader", READER)
        running.add_user("writer", WRITER)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "writer")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", WRITER)
            client = MlflowClient(running.uri)
            client.create_run(client.create_experiment("demo.hr-bot"))
        yield running


def run_stage(config: JobConfig, root: Path, hub: HubServer) -> tuple[int, StageReport, str]:
    """The stage as its container runs it: exit code, termination message, output."""
    (root / "tmp").mkdir(parents=True)
    (root / "job.json").write_text(config.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "vernacular_trainer", config.stage.lower(), "--config", str(root / "job.json")]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MLFLOW_"))},
        "HF_ENDPOINT": hub.url,
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
    }
    message = root / "termination.json"
    done = subprocess.run(
        [*command, "--termination-log", str(message)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, StageReport.from_json(message.read_text(encoding="utf-8")), done.stdout + done.stderr


def job_with(root: Path, user: str, password: str, token: str, uri: str) -> JobConfig:
    """A job whose Secrets are mounted outside its own folders, as the kubelet does."""
    for folder, values in (("model", {"HF_TOKEN": token}), ("mlflow", credentials(user, password))):
        (root / "secrets" / folder).mkdir(parents=True)
        for key, value in values.items():
            (root / "secrets" / folder / key).write_text(value, encoding="utf-8")
    work, secrets = root / "work", root / "secrets"
    config, _ = make_job(work, root / "unused", write_lines(root / "rows" / "train.jsonl", handbook_rows(40)))
    return dataclasses.replace(
        config,
        model=ModelConfig(
            uri="hf://acme/tiny",
            path=f"{work}/workspace/model",
            credentials_name="hf-token",
            credentials_path=str(secrets / "model"),
        ),
        tracking=TrackingConfig(
            uri, "demo.hr-bot", credentials_name="mlflow-login", credentials_path=str(secrets / "mlflow")
        ),
    )


def credentials(user: str, password: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


def assert_nothing_told(output: str, work: Path, server: MlflowServer) -> None:
    assert not [secret for secret in SECRETS if secret in output.encode()]
    assert found_in_files(work, SECRETS) == []
    assert found_in_files(server.folder, SECRETS) == []


def test_who_may_only_read_is_told_in_prepare(tmp_path: Path, tiny_model: Path, server: MlflowServer) -> None:
    with HubServer("acme/tiny", tiny_model, token=TOKEN) as hub:
        config = job_with(tmp_path, "reader", READER, TOKEN, server.uri)
        code, report, output = run_stage(config, tmp_path / "work", hub)

    assert code == ExitCode.USER_ERROR
    assert report.code == "TrackingAccessDenied"
    assert "the experiment demo.hr-bot with the credentials of the Secret mlflow-login" in report.message
    assert "name a Secret whose user may edit it in tracking.mlflow.credentialsSecretName" in report.advice
    assert_nothing_told(output, tmp_path / "work", server)


@pytest.mark.parametrize("wrong", ["user", "token"])
def test_credentials_that_are_wrong_are_not_told(
    tmp_path: Path, tiny_model: Path, server: MlflowServer, wrong: str
) -> None:
    password, expected = (READER, TOKEN) if wrong == "user" else (WRITER, "another")
    with HubServer("acme/tiny", tiny_model, token=expected) as hub:
        config = job_with(tmp_path, "writer", password, TOKEN, server.uri)
        code, report, output = run_stage(config, tmp_path / "work", hub)

    assert code == ExitCode.USER_ERROR
    assert report.code == ("TrackingAccessDenied" if wrong == "user" else "ModelAccessDenied")
    assert_nothing_told(output, tmp_path / "work", server)


def test_credentials_that_are_right_are_used_and_not_told(
    tmp_path: Path, tiny_model: Path, server: MlflowServer
) -> None:
    work = tmp_path / "work"
    with HubServer("acme/tiny", tiny_model, token=TOKEN) as hub:
        config = job_with(tmp_path, "writer", WRITER, TOKEN, server.uri)
        code, report, output = run_stage(config, work, hub)

    assert (code, report.code) == (ExitCode.DONE, ""), report
    assert config.stage is Stage.PREPARE
    assert_nothing_told(output, work, server)
