"""The chart's values: what is wrong is refused with a message, what is right is documented and reaches the operator."""

from __future__ import annotations

import functools
import json
import operator
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.apiserver import REPOSITORY
from support.finetunejobs import at, both
from support.helm import BUNDLED, CHART, Helm, HelmError, find
from vernacular_operator.config import OperatorConfig, parse_config


def refusal(helm: Helm, values: dict[str, Any]) -> str:
    with pytest.raises(HelmError) as caught:
        helm.render(values)
    return str(caught.value)


def operator_config(helm: Helm, values: dict[str, Any]) -> OperatorConfig:
    data = find(helm.render(values), "ConfigMap")["data"]
    assert list(data) == ["config.yaml"]
    return parse_config(yaml.safe_load(data["config.yaml"]))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("replicas", 2, "additional properties 'replicas' not allowed"),
        ("images.trainer_image", "x", "additional properties 'trainer_image' not allowed"),
        ("config.worker", 2, "additional properties 'worker' not allowed"),
        ("images.pullPolicy", "Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("images.operator", "", "minLength"),
        ("images.pullSecrets", "regcred", "got string, want array"),
        ("crds.keep", "yes", "got string, want boolean"),
        ("watchNamespaces", ["HR"], "does not match pattern"),
        ("watchNamespaces", ["hr", "hr"], "are equal"),
        ("mlflow.externalUrl", "mlflow.example.com", "does not match pattern"),
        ("mlflow.externalUrl", "https://hr:secret@mlflow.example.com", "does not match pattern"),
        ("mlflow.bundled.storage.size", "20GiB", "does not match pattern"),
        ("mlflow.bundled.runAsUser", 0, "minimum: got 0, want 1"),
        ("operator.logLevel", "LOUD", "value must be one of"),
        ("operator.resources.claims", [], "additional properties 'claims' not allowed"),
        ("config.resources.train.requests", {"cpu": 2}, "got number, want string"),
        ("config.storage.accessMode", "ReadWriteOncePod", "value must be one of 'ReadWriteOnce', 'ReadWriteMany'"),
        ("config.workers", 0, "minimum: got 0, want 1"),
        ("config.workers", 65, "maximum: got 65, want 64"),
        ("config.gracePeriodSeconds", "2m", "got string, want integer"),
        ("admissionPolicy.models", ["https://"], "does not match pattern"),
        ("admissionPolicy.endpoints", ["minio:9000"], "does not match pattern"),
        ("admissionPolicy.registries", ["registry.example.com"], "does not match pattern"),
        ("admissionPolicy.maxGpus", -1, "minimum: got -1, want 0"),
        ("config.podOverrides.env", "yes", "got string, want boolean"),
        ("config.podOverrides.serviceAccountNames", ["A"], "does not match pattern"),
        ("config.huggingFace.endpoint", "mirror", "does not match pattern"),
        ("config.s3.endpoint", "minio:9000", "does not match pattern"),
        ("config.s3.region", "Frankfurt", "does not match pattern"),
        ("config.https.hosts", ["https://files.example.com"], "does not match pattern"),
        ("config.https.hosts", ["*"], "does not match pattern"),
        ("config.https.maxFileGiB", 0, "minimum: got 0, want 1"),
        ("openaiApi.models", {"gpt": {}}, "missing property 'model'"),
        ("openaiApi.files.maxFileMiB", 0, "minimum: got 0, want 1"),
        ("config.storage.cachedFilesGiB", -1, "minimum: got -1, want 0"),
        ("config.kueue.enabled", "yes", "got string, want boolean"),
        ("config.kueue.followUpPriorityClass", "After Training", "does not match pattern"),
    ],
)
def test_wrong_values_are_refused_by_name(helm: Helm, path: str, value: Any, says: str) -> None:
    message = refusal(helm, both(BUNDLED, at(path, value)))

    assert says in message
    *parents, last = path.split(".")
    assert "/".join(parents) in message or last in message


def test_no_server_is_an_error_that_says_what_to_set(helm: Helm) -> None:
    message = refusal(helm, {})

    assert "set mlflow.trackingUri to the address of yours, or mlflow.bundled.enabled=true" in message


def test_two_servers_are_an_error_that_says_what_to_set(helm: Helm) -> None:
    message = refusal(helm, both(BUNDLED, at("mlflow.trackingUri", "http://mlflow:5000")))

    assert "mlflow.trackingUri and mlflow.bundled.enabled exclude each other" in message


def test_the_operator_accepts_the_configuration_as_it_comes(helm: Helm) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    config = operator_config(helm, BUNDLED)

    assert config.mlflow.tracking_uri == "http://vernacular-mlflow.system:5000"
    assert config.images.data == values["images"]["data"]
    assert config.model_dump(by_alias=True, mode="json").keys() == {
        *values["config"],
        "images",
        "mlflow",
        "watchNamespaces",
    }


def test_every_part_of_the_configuration_reaches_the_operator(helm: Helm) -> None:
    settings = {
        "storage": {"size": "100Gi", "storageClassName": "efs", "accessMode": "ReadWriteMany", "cachedFilesGiB": 7},
        "resources": {
            stage: {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": f"{size}Gi"}}
            for stage, size in {"prepare": 10, "train": 11, "evaluate": 12, "publish": 13}.items()
        },
        "podOverrides": {"env": True, "volumes": True, "serviceAccountNames": ["s3-reader"]},
        "huggingFace": {"endpoint": "https://mirror.example.com"},
        "s3": {"endpoint": "https://minio.example.com:9000", "region": "eu-central-1"},
        "https": {"hosts": ["files.example.com", "*.example.org:8443"], "maxFileGiB": 50},
        "kueue": {"enabled": True, "followUpPriorityClass": "after-training"},
        "runAsUser": 1_000_680_000,
        "gracePeriodSeconds": 600,
        "workers": 16,
        "progressIntervalSeconds": 30,
        "resyncSeconds": 60,
    }
    values = {
        "config": settings,
        "watchNamespaces": ["hr", "legal"],
        "images": {"data": "r/data:1", "trainer": "r/trainer:1", "pullPolicy": "Never", "pullSecrets": ["regcred"]},
        "mlflow": {"trackingUri": "http://mlflow:5000/", "externalUrl": "https://mlflow.example.com"},
    }

    assert operator_config(helm, values).model_dump(by_alias=True, mode="json") == {
        **settings,
        "watchNamespaces": ["hr", "legal"],
        "images": values["images"],
        "mlflow": {"trackingUri": "http://mlflow:5000", "externalUrl": "https://mlflow.example.com"},
    }


FREE = {
    *("labels", "podLabels", "podAnnotations", "namespaceSelector", "nodeSelector", "affinity", "requests", "limits"),
    *("models", "jobDefaults"),
}


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        inner = f"{path}.{name}".lstrip(".")
        if isinstance(value, dict) and name not in FREE:
            yield from leaves(value, inner)
        else:
            yield inner


def schema_leaves(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, child in schema["properties"].items():
        inner = f"{path}.{name}".lstrip(".")
        target = definitions[child["$ref"].rsplit("/", 1)[1]] if "$ref" in child else child
        if "properties" in target:
            yield from schema_leaves(target, definitions, inner)
        else:
            yield inner


def test_values_and_schema_list_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert set(schema_leaves(schema, schema["definitions"])) - {"global"} == set(leaves(values))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield schema
        for child in schema.values():
            yield from objects(child)


def test_no_object_of_the_schema_lets_unknown_names_pass() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert all(each.get("additionalProperties") is False for each in objects(schema))


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    comments = [
        lines[number - 1].strip()
        for number, line in enumerate(lines)
        if re.match(r" *[A-Za-z]+: *[^ ]", line) and not re.match(r" +(cpu|memory):|.*(requests|limits):", line)
    ]

    assert [comment for comment in comments if not comment.startswith("# ")] == []


def test_the_readme_lists_every_value_with_its_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    readme = (CHART / "README.md").read_text(encoding="utf-8")

    missing = [row for path in leaves(values) if (row := readme_row(values, path)) not in readme]
    assert missing == []


def readme_row(values: dict[str, Any], path: str) -> str:
    """How the README's row of a value begins; requests and limits share the row of their resources."""
    if path.endswith((".requests", ".limits")):
        return f"| `{path.rpartition('.')[0]}` |"
    value = functools.reduce(operator.getitem, path.split("."), values)
    return f"| `{path}` | `{json.dumps(value)}` |"


def test_chart_images_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    images = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["images"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]
    assert {images[name].rpartition(":")[2] for name in ("operator", "data", "trainer")} == {project["version"]}
