"""The bundled MLflow server, run with the very arguments of the chart: who may call it, and by which name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.bundled_mlflow import served, status
from support.helm import Helm, find
from support.postgres import Postgres
from support.s3_server import ROWS, S3Server

pytestmark = pytest.mark.slow

EXTERNAL = "https://mlflow.example.com"
VALUES = {"mlflow": {"externalUrl": EXTERNAL, "bundled": {"enabled": True, "allowedHosts": ["10.96.*"]}}}


@pytest.fixture(scope="module")
def port(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(helm, VALUES, tmp_path_factory.mktemp("mlflow")) as port:
        yield port


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.mark.parametrize(
    "host",
    [
        "vernacular-mlflow.system:5000",
        "vernacular-mlflow.system.svc.cluster.local:5000",
        "localhost:5000",
        "mlflow.example.com",
        "10.96.0.50:5000",
    ],
)
def test_it_answers_to_its_names(port: int, host: str) -> None:
    assert status(port, SEARCH, host) == 200


@pytest.mark.parametrize("host", ["evil.example.com", "vernacular-mlflow.other:5000"])
def test_it_refuses_other_names(port: int, host: str) -> None:
    assert status(port, SEARCH, host) == 403


def test_probes_need_no_name(port: int) -> None:
    assert status(port, "/health") == 200


def test_only_its_own_pages_may_write(port: int) -> None:
    create, body = "/api/2.0/mlflow/experiments/create", b'{"name": "%d"}'

    assert status(port, create, "localhost:5000", EXTERNAL, body % 1) == 200
    assert status(port, create, "localhost:5000", "https://evil.example.com", body % 2) == 403


def test_database_and_artifacts_elsewhere_survive_the_server_and_need_no_volume(helm: Helm, tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as database, S3Server(tmp_path / "s3") as bucket:
        artifacts = {"destination": f"s3://{ROWS}/mlflow", "endpoint": bucket.endpoint, "secretName": "mlflow-bucket"}
        bundled = {"enabled": True, "database": {"secretName": "mlflow-database"}, "artifacts": artifacts}
        keys = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": bucket.keys["admin"]}
        secrets = {"mlflow-database": {"uri": database.uri}, "mlflow-bucket": keys}
        values = {"mlflow": {"bundled": bundled}}
        rendered = helm.render(values)
        assert not [each for each in rendered if each["kind"] == "PersistentVolumeClaim"]
        pod = find(rendered, "Deployment", "vernacular-mlflow")["spec"]["template"]["spec"]
        assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]

        source = tmp_path / "adapter_config.json"
        source.write_text('{"r": 16}')
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        with served(helm, values, tmp_path / "first", secrets) as port:
            client = MlflowClient(f"http://127.0.0.1:{port}")
            run_id = client.create_run(client.create_experiment("demo.hr-bot")).info.run_id
            client.log_metric(run_id, "train/loss", 2.5, step=1)
            client.log_artifact(run_id, str(source), "adapter")
            client.create_registered_model("demo.hr-bot")
            client.create_model_version("demo.hr-bot", f"runs:/{run_id}/adapter", run_id)
        assert database.query("SELECT value FROM metrics") == "2.5"

        with served(helm, values, tmp_path / "second", secrets) as port:
            client = MlflowClient(f"http://127.0.0.1:{port}")
            assert [point.value for point in client.get_metric_history(run_id, "train/loss")] == [2.5]
            assert client.get_model_version("demo.hr-bot", "1").run_id == run_id
            copy = client.download_artifacts(run_id, "adapter/adapter_config.json", str(tmp_path / "second"))
            assert Path(copy).read_text() == source.read_text()
        assert not list(tmp_path.glob("*/artifacts"))


def test_nothing_secret_is_among_the_arguments(helm: Helm) -> None:
    bundled = {"enabled": True, "database": {"secretName": "mlflow-database"}}
    rendered = find(helm.render({"mlflow": {"bundled": bundled}}), "Deployment", "vernacular-mlflow")
    (container,) = rendered["spec"]["template"]["spec"]["containers"]

    assert not [each for each in container["args"] if "backend-store" in each]
    assert {each["name"]: each.get("valueFrom") for each in container["env"]}["MLFLOW_BACKEND_STORE_URI"] == {
        "secretKeyRef": {"name": "mlflow-database", "key": "uri"}
    }


def test_values_that_an_older_release_was_installed_with_still_render(helm: Helm) -> None:
    # as `helm upgrade --reuse-values` brings them
    rendered = helm.render({"mlflow": {"bundled": {"enabled": True, "database": None, "artifacts": None}}})
    (container,) = find(rendered, "Deployment", "vernacular-mlflow")["spec"]["template"]["spec"]["containers"]

    assert "--artifacts-destination=/data/artifacts" in container["args"]
