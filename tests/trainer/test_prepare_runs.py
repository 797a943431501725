"""Files of MLflow runs, against a real server with logins: found, refused, and only of the job's own namespace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.mlflow_server import MlflowServer
from support.stage_jobs import handbook_rows, write_lines
from vernacular_trainer.contract import FileSource, Outcome, StageFailure, TrackingConfig
from vernacular_trainer.data.remote.fetch import Servers
from vernacular_trainer.data.remote.runs import Tracking
from vernacular_trainer.data.sources import Copied, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

pytestmark = pytest.mark.slow

ADMIN = "an-admin-password"
TAG = "vernacular.dev/namespace"


@pytest.fixture(scope="module")
def login() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN)
        yield patch


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow"), ADMIN) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: MlflowServer, login: pytest.MonkeyPatch) -> MlflowClient:
    return MlflowClient(server.uri)


def run_with(client: MlflowClient, folder: Path, experiment: str, namespace: str = "") -> str:
    """A run with one reviewed file of rows, and the id of it."""
    found = client.get_experiment_by_name(experiment)
    identifier = found.experiment_id if found else client.create_experiment(experiment)
    run_id = str(client.create_run(identifier, tags={TAG: namespace} if namespace else {}).info.run_id)
    client.log_artifact(run_id, str(write_lines(folder / "collect next.jsonl", handbook_rows(20))), "reviewed")
    return run_id


def copied(
    tmp_path: Path, server: str, run_id: str, path: str = "reviewed/collect next.jsonl", **secret: str
) -> Copied:
    uri = f"mlflow://runs/{run_id}/{path}"
    keys = secret or {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN}
    for key, value in keys.items():
        write_lines(tmp_path / "secret" / key, [value])
    tracking = TrackingConfig(server, "hr.bot", credentials_name="mlflow", credentials_path=str(tmp_path / "secret"))
    servers = Servers(tracking=Tracking(tracking, "hr"))
    return copy_sources((FileSource(uri, uri=uri),), Workspace(tmp_path / "workspace"), servers)


def refusal(
    tmp_path: Path, server: str, run_id: str, path: str = "reviewed/collect next.jsonl", **secret: str
) -> StageError:
    with pytest.raises(StageError) as caught:
        copied(tmp_path, server, run_id, path, **secret)
    assert caught.value.advice
    return caught.value


def test_a_file_of_a_run_of_the_namespace_is_copied(tmp_path: Path, server: MlflowServer, client: MlflowClient) -> None:
    run_id = run_with(client, tmp_path, "hr.bot", namespace="hr")
    content = (tmp_path / "collect next.jsonl").read_bytes()

    for _ in range(2):
        (copy,) = copied(tmp_path, server.uri, run_id).copies
        assert copy.name == f"mlflow://runs/{run_id}/reviewed/collect next.jsonl"
        assert copy.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert [json.loads(line) for line in copy.path.read_text().splitlines()] == handbook_rows(20)


def test_an_experiment_of_the_namespace_opens_its_runs(
    tmp_path: Path, server: MlflowServer, client: MlflowClient
) -> None:
    run_id = run_with(client, tmp_path, "hr.reviewed")
    client.set_experiment_tag(client.get_experiment_by_name("hr.reviewed").experiment_id, TAG, "hr")
    other = run_with(client, tmp_path, "hr.reviewed", namespace="legal")

    assert copied(tmp_path, server.uri, run_id).copies[0].size
    assert refusal(tmp_path, server.uri, other).code is StageFailure.SOURCE_NOT_ALLOWED


@pytest.mark.parametrize("namespace", ["", "legal"])
def test_runs_of_others_are_not_read(
    tmp_path: Path, server: MlflowServer, client: MlflowClient, namespace: str
) -> None:
    run_id = run_with(client, tmp_path, "legal.bot", namespace)

    error = refusal(tmp_path, server.uri, run_id)

    assert (error.code, error.outcome) == (StageFailure.SOURCE_NOT_ALLOWED, Outcome.USER_ERROR)
    assert error.message.endswith("is none of the namespace hr")
    assert error.advice == "let who owns the run give it the tag vernacular.dev/namespace: hr in MLflow"


@pytest.mark.parametrize(
    ("path", "message", "advice"),
    [
        ("reviewed/typo.jsonl", "does not exist", "write one of its files: reviewed/collect next.jsonl"),
        ("typo/a.jsonl", "does not exist", "write the path of a file as MLflow shows it"),
        ("reviewed", "is a folder", "write one of its files: reviewed"),
    ],
)
def test_a_file_that_is_not_there_is_told(
    tmp_path: Path, server: MlflowServer, client: MlflowClient, path: str, message: str, advice: str
) -> None:
    error = refusal(tmp_path, server.uri, run_with(client, tmp_path, "hr.bot", namespace="hr"), path)

    assert error.code is StageFailure.DATASET_NOT_FOUND
    assert error.message.endswith(message)
    assert error.advice == advice


def test_a_run_that_is_unknown_or_deleted_is_told(tmp_path: Path, server: MlflowServer, client: MlflowClient) -> None:
    deleted = run_with(client, tmp_path, "hr.bot", namespace="hr")
    client.delete_run(deleted)

    for run_id, message in (("0" * 32, f"does not exist at {server.uri}"), (deleted, "is deleted")):
        error = refusal(tmp_path, server.uri, run_id)
        assert error.code is StageFailure.DATASET_NOT_FOUND
        assert error.message.endswith(message)


def test_a_login_that_is_wrong_is_named(tmp_path: Path, server: MlflowServer, client: MlflowClient) -> None:
    run_id = run_with(client, tmp_path, "hr.bot", namespace="hr")
    wrong = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "wrong-password"}

    error = refusal(tmp_path, server.uri, run_id, **wrong)

    assert error.code is StageFailure.DATASET_ACCESS_DENIED
    assert error.message.endswith("may not be read with the login of the Secret mlflow")


def test_a_server_that_is_away_is_tried_again(tmp_path: Path, login: pytest.MonkeyPatch) -> None:
    error = refusal(tmp_path, "http://127.0.0.1:9", "0" * 32)

    assert (error.code, error.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)
