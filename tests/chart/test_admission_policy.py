"""The chart's ValidatingAdmissionPolicy on a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.apiserver import ApiError, ApiServer
from support.finetunejobs import at, both, finetunejob
from support.helm import BUNDLED, Helm, names

pytestmark = pytest.mark.integration

KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
MODELS = ["hf://acme/", "pvc://models/", "s3://models/"]
MINIO = "https://minio.example.com:9000"
ACTS_WITHIN_SECONDS = 30


def policy(**changes: Any) -> dict[str, Any]:
    values = {"enabled": True, "models": MODELS, "endpoints": [MINIO], "maxGpus": 4}
    values["registries"] = ["registry.example.com/ml/"]
    return both(BUNDLED, {"admissionPolicy": values | changes})


def create(server: ApiServer, namespace: str, patch: dict[str, Any]) -> str:
    """What the server says, "" when it would take the job."""
    path = f"/apis/vernacular.dev/v1alpha1/namespaces/{namespace}/finetunejobs?dryRun=All"
    try:
        server.request("POST", path, finetunejob(patch=patch))
    except ApiError as error:
        return error.message
    return ""


@pytest.fixture(scope="module")
def guarded(api_server: ApiServer, helm: Helm) -> Iterator[str]:
    """A namespace that the policy is bound to."""
    namespace = api_server.new_namespace()
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    manifests = [each for each in helm.render(policy(namespaceSelector=selector)) if each["kind"] in KINDS]
    text = yaml.safe_dump_all(manifests)
    applied = api_server.kubectl("apply", "--validate=strict", "-f", "-", stdin=text)
    assert applied.returncode == 0, applied.stderr
    deadline = time.monotonic() + ACTS_WITHIN_SECONDS
    while not create(api_server, namespace, at("model.uri", "hf://other/model")):
        assert time.monotonic() < deadline, "the policy does not act"
        time.sleep(0.1)
    yield namespace
    api_server.kubectl("delete", "-f", "-", stdin=text)


def trainer(image: str) -> dict[str, Any]:
    return at("trainer", {"command": ["train"], "image": image})


ALLOWED = at("model.uri", "hf://acme/tiny")


@pytest.mark.parametrize(
    "patch",
    [
        ALLOWED,
        at("model.uri", "pvc://models/tiny"),
        at("model.uri", "s3://models/tiny"),
        at("model", {"uri": "s3://models/tiny", "endpoint": MINIO}),
        both(ALLOWED, trainer("registry.example.com/ml/axolotl:1")),
        both(ALLOWED, at("trainer.command", ["train"])),
        both(ALLOWED, at("compute", {"pods": 2, "gpusPerPod": 2})),
        both(ALLOWED, at("compute.gpusPerPod", 0)),
    ],
)
def test_what_is_allowed(api_server: ApiServer, guarded: str, patch: dict[str, Any]) -> None:
    assert create(api_server, guarded, patch) == ""


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        (
            at("model.uri", "hf://acme-evil/tiny"),
            "the model hf://acme-evil/tiny is not allowed here; use one that starts with hf://acme/ or pvc://models/"
            " or s3://models/",
        ),
        (
            at("model", {"uri": "s3://models/tiny", "endpoint": f"{MINIO}/evil"}),
            f"the endpoint {MINIO}/evil is not allowed here; remove it, or use {MINIO}",
        ),
        (
            both(ALLOWED, trainer("docker.io/somebody/axolotl:1")),
            "the image docker.io/somebody/axolotl:1 is not allowed here;"
            " use one that starts with registry.example.com/ml/",
        ),
        (
            both(ALLOWED, at("compute", {"pods": 5, "gpusPerPod": 1})),
            "the job asks for 5 GPUs; 4 are allowed here",
        ),
    ],
)
def test_what_is_refused_and_what_to_do(api_server: ApiServer, guarded: str, patch: dict[str, Any], says: str) -> None:
    assert says in create(api_server, guarded, patch)


def test_other_namespaces_are_left_alone(api_server: ApiServer, guarded: str) -> None:
    assert create(api_server, api_server.new_namespace(), at("model.uri", "hf://other/model")) == ""


def test_it_is_off_by_default_and_empty_lists_allow_everything(api_server: ApiServer, helm: Helm) -> None:
    assert not names(helm.render(BUNDLED), KINDS[0])
    (found,) = [each for each in helm.render(policy(models=[], registries=[])) if each["kind"] == KINDS[0]]

    assert len(found["spec"]["validations"]) == 1
    require_created(api_server, found)


def test_without_endpoints_models_come_from_the_usual_servers_alone(api_server: ApiServer, helm: Helm) -> None:
    (found,) = [each for each in helm.render(policy(endpoints=[])) if each["kind"] == KINDS[0]]

    assert "!has(object.spec.model.endpoint)" in [rule["expression"] for rule in found["spec"]["validations"]]
    require_created(api_server, found)


def require_created(server: ApiServer, found: dict[str, Any]) -> None:
    text = yaml.safe_dump({**found, "metadata": {**found["metadata"], "name": "other.vernacular.dev"}})
    created = server.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert created.returncode == 0, created.stderr
