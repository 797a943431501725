"""`podOverrides` on a real API server: what reaches the pods, what webhooks add to them, and what nobody gets at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.apiserver import MERGE_PATCH, ApiServer
from support.embedded_operator import Document, User, condition, operator_config, running_operator
from support.finetunejobs import at, both, finetunejob
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import SimulatedKubelet, hold_until_stopped, succeed
from vernacular_trainer.contract import Stage

pytestmark = pytest.mark.integration

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CANARY = "payroll-database"
MALLORY = "mallory"


@pytest.fixture
def identity_webhook(api_server_with_controllers: ApiServer, namespace: str) -> Iterator[None]:
    """Adds a variable and a token volume to every pod of the namespace, as workload identity of clouds does."""
    served = api_server_with_controllers.request("GET", ADMISSION)["resources"]
    if all(resource["name"] != "mutatingadmissionpolicies" for resource in served):
        pytest.skip("this Kubernetes does not serve MutatingAdmissionPolicy v1, which stands in for a webhook")
    name = f"identity-{namespace}"
    token = "Object.spec.volumes.projected.sources.serviceAccountToken{path: 'token', audience: 'sts.amazonaws.com'}"
    source = f"Object.spec.volumes.projected.sources{{serviceAccountToken: {token}}}"
    volume = (
        f"Object.spec.volumes{{name: 'aws-iam-token', projected: Object.spec.volumes.projected{{sources: [{source}]}}}}"
    )
    variable = "Object.spec.containers.env{name: 'AWS_ROLE_ARN', value: 'arn:aws:iam::1:role/reader'}"
    expression = (
        f"[JSONPatch{{op: 'add', path: '/spec/volumes/-', value: {volume}}},"
        f" JSONPatch{{op: 'add', path: '/spec/containers/0/env/-', value: {variable}}}]"
    )
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ],
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    api_server_with_controllers.request("POST", f"{ADMISSION}/mutatingadmissionpolicies", policy)
    api_server_with_controllers.request("POST", f"{ADMISSION}/mutatingadmissionpolicybindings", binding)
    yield
    for kind in ("mutatingadmissionpolicybindings", "mutatingadmissionpolicies"):
        api_server_with_controllers.request("DELETE", f"{ADMISSION}/{kind}/{name}")


async def until_injected(user: User) -> None:
    """A policy takes a moment until it acts."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    variables = [{"name": "A", "value": ""}]
    container = {"name": "stage", "image": "example.org/x:1", "env": variables, "securityContext": restricted}
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    probe = {"metadata": {"name": "probe"}, "spec": spec}
    async with asyncio.timeout(30):
        while True:
            pod = await user.request("POST", f"/api/v1/namespaces/{user.namespace}/pods?dryRun=All", probe)
            if injected(pod):
                return
            await asyncio.sleep(0.1)


def injected(pod: Document) -> bool:
    variables = {item["name"] for item in pod["spec"]["containers"][0].get("env", ())}
    volumes = {item["name"] for item in pod["spec"]["volumes"]}
    return "AWS_ROLE_ARN" in variables and "aws-iam-token" in volumes


async def pods(user: User) -> list[Document]:
    found = await user.request("GET", f"/api/v1/namespaces/{user.namespace}/pods")
    return list(found["items"])


async def test_overrides_reach_the_pods_and_what_webhooks_inject_stays(
    api_server_with_controllers: ApiServer,
    mlflow_server: MlflowServer,
    kubelet: SimulatedKubelet,
    user: User,
    identity_webhook: None,
) -> None:
    await until_injected(user)
    kubelet.script = lambda config: hold_until_stopped(5) if config.stage == Stage.TRAIN else succeed(config)
    overrides = [
        {"tolerations": [{"key": "spot", "operator": "Exists"}], "labels": {"team": "hr"}},
        {"stages": ["Train"], "resources": {"requests": {"memory": "1Gi"}}, "annotations": {"note": "x"}},
    ]
    config = operator_config(mlflow_server.uri, user.namespace, resyncSeconds=1)
    async with running_operator(api_server_with_controllers, config):
        await user.create("hr-bot", podOverrides=overrides)
        await user.until_state("hr-bot", "Training")
        (training,) = [pod for pod in await pods(user) if pod["metadata"]["labels"]["vernacular.dev/stage"] == "train"]
        assert injected(training)
        assert training["metadata"]["labels"]["team"] == "hr"
        assert training["metadata"]["annotations"]["note"] == "x"
        assert training["spec"]["containers"][0]["resources"]["requests"] == {"memory": "1Gi"}
        assert {"key": "spot", "operator": "Exists"} in training["spec"]["tolerations"]

        # somebody else marks the Job meanwhile, and the operator looks at everything again
        job = next(item for item in await user.jobs() if "-train-" in item["metadata"]["name"])
        path = f"/apis/batch/v1/namespaces/{user.namespace}/jobs/{job['metadata']['name']}"
        await user.request("PATCH", path, {"metadata": {"annotations": {"theirs": "1"}}}, MERGE_PATCH)
        changed = {"spec": {"runPolicy": {"maxRestarts": 9}}}
        await user.request("PATCH", user.path("hr-bot"), changed, MERGE_PATCH)
        await user.until("hr-bot", lambda status: status.get("observedGeneration") == 2)
        after = await user.request("GET", path)
        assert after["metadata"]["annotations"]["theirs"] == "1"
        assert after["metadata"]["generation"] == job["metadata"]["generation"]
        assert after["spec"] == job["spec"]
        (pod,) = [item for item in await pods(user) if item["metadata"]["name"] == training["metadata"]["name"]]
        assert pod["spec"]["volumes"] == training["spec"]["volumes"]
        kubelet.release()
        await user.until_state("hr-bot", "Succeeded")
        assert all(injected(pod) for pod in await pods(user))


ATTEMPTS: dict[str, dict[str, Any]] = {
    "env-from-secret": at(
        "podOverrides[].env",
        [{"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": CANARY, "key": "password"}}}],
    ),
    "env-from": at("podOverrides[].envFrom", [{"secretRef": {"name": CANARY}}]),
    "volume": at("podOverrides[].volumes", [{"name": "a", "emptyDir": {}, "secret": {"secretName": CANARY}}]),
    "projected": at(
        "podOverrides[].volumes",
        [{"name": "a", "emptyDir": {}, "projected": {"sources": [{"secret": {"name": CANARY}}]}}],
    ),
    "preload": at("podOverrides[].env", [{"name": "LD_PRELOAD", "value": "/workspace/mine.so"}]),
    "account": at("podOverrides[].serviceAccountName", "admin"),
    "command": at("podOverrides[].command", ["cat", "/secrets/model/password"]),
    "security": at("podOverrides[].securityContext", {"runAsUser": 0}),
    "model": at("model.credentials.secretName", CANARY),
    "tracking": at("tracking.mlflow.credentialsSecretName", CANARY),
    "own-trainer": both(
        at("trainer", {"command": ["cat", "/secrets/mlflow/password"], "image": "evil.example.com/x:1"}),
        at("tracking.mlflow.credentialsSecretName", CANARY),
    ),
    "pull-secret": at("podOverrides[].imagePullSecrets", [{"name": CANARY}]),
}
NEVER_ACCEPTED = {"env-from-secret", "volume", "projected", "preload", "account"}


async def test_who_may_only_create_jobs_reads_no_secret(
    api_server_with_controllers: ApiServer, mlflow_server: MlflowServer, kubelet: SimulatedKubelet, user: User
) -> None:
    server, namespace = api_server_with_controllers, user.namespace
    secret = {"metadata": {"name": CANARY}, "stringData": {"password": "canary-4711"}}
    await user.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": ["vernacular.dev"], "resources": ["finetunejobs"], "verbs": ["create"]}
    await user.request("POST", f"{rbac}/roles", {"metadata": {"name": "trainer"}, "rules": [rule]})
    subject = {"kind": "User", "name": MALLORY, "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "trainer", "apiGroup": "rbac.authorization.k8s.io"}
    bound = {"metadata": {"name": "trainer"}, "subjects": [subject], "roleRef": reference}
    await user.request("POST", f"{rbac}/rolebindings", bound)
    as_mallory = (f"--as={MALLORY}", "-n", namespace)
    assert server.kubectl("get", "secret", CANARY, *as_mallory).returncode != 0

    async with running_operator(server, operator_config(mlflow_server.uri, namespace)):
        for name, patch in ATTEMPTS.items():
            on_cpu = both(at("compute.gpusPerPod", 0), at("model.uri", "hf://org/model"), patch)
            # other clients than kubectl have unknown fields pruned, which is the weaker check
            manifest = json.dumps(finetunejob(name, on_cpu))
            done = await asyncio.to_thread(
                server.kubectl, "create", "--validate=ignore", *as_mallory, "-f", "-", stdin=manifest
            )
            assert done.returncode == 0, done.stderr
        for name in ATTEMPTS:
            job = await user.until(name, lambda status: status.get("state") in ("Succeeded", "Failed"))
            assert condition(job, "Accepted") == ("False" if name in NEVER_ACCEPTED else "True"), name

        stages = await user.jobs()
        assert len(stages) == 4 * (len(ATTEMPTS) - len(NEVER_ACCEPTED))
        for stage in stages:
            spec = stage["spec"]["template"]["spec"]
            keys = {
                item["key"]
                for volume in spec["volumes"]
                for item in volume.get("secret", {}).get("items", [{"key": "all"}] if "secret" in volume else [])
            }
            assert keys <= {"HF_TOKEN", *(f"MLFLOW_TRACKING_{word}" for word in ("USERNAME", "PASSWORD", "TOKEN"))}
            assert spec["automountServiceAccountToken"] is False
            assert spec.get("serviceAccountName", "default") == "default"
            assert "secretKeyRef" not in json.dumps(spec["containers"])
            if spec["containers"][0]["image"].startswith("evil"):
                assert keys == set()
            assert "password" not in json.dumps(spec)
