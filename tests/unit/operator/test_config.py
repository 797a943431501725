"""The configuration file: strict, with errors that name the field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vernacular_operator.config import ConfigError, load_config, parse_config

SMALL = {"images": {"data": "d:1", "trainer": "t:1"}, "mlflow": {"trackingUri": "http://mlflow:5000/"}}


def test_everything_else_has_a_default() -> None:
    config = parse_config(SMALL)

    assert config.mlflow.tracking_uri == "http://mlflow:5000"
    assert config.mlflow.people_url == "http://mlflow:5000"
    assert (config.run_as_user, config.workers, config.storage.size) == (65532, 16, "20Gi")


def test_a_whole_file(tmp_path: Path) -> None:
    document = SMALL | {
        "watchNamespaces": ["a", "b"],
        "resources": {"train": {"requests": {"cpu": "1"}, "limits": {"memory": "8Gi"}}},
        "huggingFace": {"endpoint": "https://hub"},
        "s3": {"endpoint": "https://minio", "region": "eu-central-1"},
        "https": {"hosts": ["files.example.com", "*.example.org:8443"], "maxFileGiB": 5},
        "storage": {"size": "1Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany", "cachedFilesGiB": 0},
        "gracePeriodSeconds": 60,
        "progressIntervalSeconds": 5,
        "resyncSeconds": 60,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    config = load_config(path)

    assert config.resources.train.limits == {"memory": "8Gi"}
    assert config.watch_namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"worker": 3}, "worker"),
        ({"images": {"data": "d"}}, "images.trainer"),
        ({"mlflow": {"trackingUri": "mlflow:5000"}}, "mlflow.trackingUri"),
        ({"mlflow": {"trackingUri": "http://hr:secret@mlflow:5000"}}, "mlflow.trackingUri: .* must not hold a user"),
        ({"mlflow": SMALL["mlflow"] | {"externalUrl": "https://hr@m.example/x"}}, "mlflow.externalUrl: .* must not"),
        ({"huggingFace": {"endpoint": "https://x:y@hub"}}, "huggingFace.endpoint: .* must not hold a user"),
        ({"s3": {"endpoint": "https://x:y@minio"}}, "s3.endpoint: .* must not hold a user"),
        ({"https": {"hosts": ["https://files"]}}, "https.hosts"),
        ({"https": {"hosts": ["*"]}}, "https.hosts"),
        ({"workers": 0}, "workers"),
        ({"storage": {"accessMode": "ReadOnlyMany"}}, "storage.accessMode"),
    ],
)
def test_an_error_names_the_field(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(SMALL | change)


def test_a_file_that_is_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "bad.yaml")


def test_the_process_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vernacular_operator", "run", "--config", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_the_folder_of_the_operator_is_no_package_named_operator() -> None:
    root = Path(__file__).resolve().parents[3]

    assert not (root / "operator" / "__init__.py").exists()
    assert not (root / "trainer_image" / "__init__.py").exists()
