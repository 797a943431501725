"""Pods hold no more than they need, and no credential turns up where it does not belong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow import MlflowClient

from support.apiserver import ApiServer
from support.canaries import canary, forms, found_in_files
from support.embedded_operator import User, operator_config, running_operator
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import Behaviour, SimulatedKubelet, fail, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ADMIN, OPERATOR, TOKEN, LOGIN, REGISTRY, BUCKET = map(
    canary, ("admin", "operator", "token", "login", "registry", "bucket")
)
SECRETS = {*forms(ADMIN, "admin"), *forms(OPERATOR, "operator"), *forms(TOKEN), *forms(LOGIN, "hr"), *forms(REGISTRY)}
SECRETS |= forms(BUCKET)
_JWT = re.compile(r"eyJ[\w-]{20,}\.[\w-]{20,}")

SPEC: dict[str, Any] = {
    "model": {"uri": "hf://acme/tiny", "credentials": {"secretName": "hf-token"}},
    "dataset": {"train": [{"uri": "s3://rows/train.jsonl", "credentials": {"secretName": "bucket"}}]},
    "tracking": {"mlflow": {"credentialsSecretName": "mlflow-login"}},
    "compute": {"pods": 2, "gpusPerPod": 0},
    "storage": {"workspace": {"accessMode": "ReadWriteMany"}},
    "podOverrides": [{"imagePullSecrets": [{"name": "regcred"}]}],
}
MOUNTED = {
    "Prepare": {
        "hf-token": {"HF_TOKEN"},
        "mlflow-login": {"USERNAME", "PASSWORD", "TOKEN"},
        "bucket": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "ca.crt"},
    },
    "Train": {"mlflow-login": {"USERNAME", "PASSWORD", "TOKEN"}},
    "Evaluate": {},
    "Publish": {"mlflow-login": {"USERNAME", "PASSWORD", "TOKEN"}},
}


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server with logins, on which the operator is a user like others."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow"), ADMIN) as server:
        server.add_user("operator", OPERATOR)
        yield server


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's credentials as its Deployment has them."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "operator")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", OPERATOR)


async def plant(user: User) -> None:
    """The Secrets that the job names, each with a canary."""
    pull = json.dumps({"auths": {"registry.example.org": {"username": "hr", "password": REGISTRY}}})
    secrets: dict[str, dict[str, Any]] = {
        "hf-token": {"stringData": {"HF_TOKEN": TOKEN}},
        "bucket": {"stringData": {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": BUCKET}},
        "mlflow-login": {"stringData": {"MLFLOW_TRACKING_USERNAME": "hr", "MLFLOW_TRACKING_PASSWORD": LOGIN}},
        "regcred": {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": pull}},
    }
    for name, content in secrets.items():
        body = {"metadata": {"name": name}, **content}
        await user.request("POST", f"/api/v1/namespaces/{user.namespace}/secrets", body)


async def test_no_credential_turns_up_anywhere_and_pods_get_only_their_own(
    api_server_with_controllers: ApiServer,
    guarded_server: MlflowServer,
    logged_in: None,
    kubelet: SimulatedKubelet,
    user: User,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    await plant(user)

    def script(config: JobConfig) -> Behaviour:
        if config.identity.name == "refused":
            return fail("ModelAccessDenied", "the hub refuses the token of the Secret hf-token", advice="mend it")
        return Behaviour(None, 1) if (config.stage, config.attempt) == (Stage.TRAIN, 1) else succeed(config)

    kubelet.script = script
    async with running_operator(api_server_with_controllers, operator_config(guarded_server.uri, user.namespace)):
        await user.create("works", **SPEC)
        await user.create("refused", **SPEC)
        await user.until_state("refused", "Failed")
        await user.until_state("works", "Succeeded", 120)

    stored = await asyncio.to_thread(everything_but_secrets, api_server_with_controllers)
    assert {"pods", "events", "jobs", "configmaps", "finetunejobs"} <= stored.keys()
    for name, text in stored.items():
        assert not [secret for secret in SECRETS if secret in text.encode()], name
    assert not [secret for secret in SECRETS if secret in caplog.text.encode()]
    assert not _JWT.search(caplog.text)
    assert found_in_files(guarded_server.folder, SECRETS) == []

    pods = await user.request("GET", f"/api/v1/namespaces/{user.namespace}/pods")
    stages = {pod["metadata"]["labels"]["vernacular.dev/stage"].capitalize() for pod in pods["items"]}
    assert stages == MOUNTED.keys()
    for pod in pods["items"]:
        assert_own_secrets_alone(pod)


def assert_own_secrets_alone(pod: dict[str, Any]) -> None:
    """No token of the cluster, no credential in the environment, and the Secrets of the stage by their keys."""
    spec, stage = pod["spec"], pod["metadata"]["labels"]["vernacular.dev/stage"].capitalize()
    assert spec["automountServiceAccountToken"] is False
    assert not [volume for volume in spec["volumes"] if "projected" in volume]
    assert not [variable for variable in spec["containers"][0].get("env", ()) if "secretKeyRef" in str(variable)]
    secrets = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
    mounted = {
        each["secretName"]: {item["key"].removeprefix("MLFLOW_TRACKING_") for item in each["items"]} for each in secrets
    }
    assert mounted == MOUNTED[stage]
    assert spec["imagePullSecrets"] == [{"name": "regcred"}]


async def test_an_operator_that_may_only_read_fails_the_job_with_advice(
    api_server_with_controllers: ApiServer,
    guarded_server: MlflowServer,
    logged_in: None,
    kubelet: SimulatedKubelet,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as admin:
        admin.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        admin.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN)
        await asyncio.to_thread(MlflowClient(guarded_server.uri).create_experiment, f"{user.namespace}.hr-bot")

    async with running_operator(api_server_with_controllers, operator_config(guarded_server.uri, user.namespace)):
        await user.create("hr-bot")
        failure = (await user.until_state("hr-bot", "Failed"))["status"]["failure"]

    assert failure["code"] == "TrackingAccessDenied"
    assert failure["message"].startswith("MLflow refuses the operator: runs/create: HTTP 403")
    assert "Let the operator's MLflow account create experiments and runs" in failure["advice"]


def everything_but_secrets(server: ApiServer) -> dict[str, str]:
    """All objects of the cluster by the plural name of their kind, as JSON."""
    groups = [group["preferredVersion"]["groupVersion"] for group in server.request("GET", "/apis")["groups"]]
    found: dict[str, str] = {}
    for root in ("/api/v1", *(f"/apis/{group}" for group in groups)):
        for resource in server.request("GET", root)["resources"]:
            if "list" in resource["verbs"] and (root, resource["name"]) != ("/api/v1", "secrets"):
                found[resource["name"]] = found.get(resource["name"], "") + _list(server, f"{root}/{resource['name']}")
    return found


def _list(server: ApiServer, path: str) -> str:
    return json.dumps(server.request("GET", path))


def test_the_search_finds_a_canary_in_every_form() -> None:
    for text in (TOKEN, base64.b64encode(TOKEN.encode()).decode(), base64.b64encode(f"hr:{LOGIN}".encode()).decode()):
        assert [secret for secret in SECRETS if secret in json.dumps({"data": f"x {text} y"}).encode()]
