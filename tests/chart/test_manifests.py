"""What the chart installs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.helm import BUNDLED, CHART, Helm, Manifest, find, names

EXTERNAL: dict[str, Any] = {"mlflow": {"trackingUri": "https://mlflow.example.com/"}}


def deployments(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == "Deployment"]


def container(deployment: Manifest) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_lint_finds_nothing(helm: Helm) -> None:
    report = helm.run("lint", str(CHART), "--strict", "--kube-version=1.37.0", values=BUNDLED)

    assert "0 chart(s) failed" in report


@pytest.mark.parametrize("name", ["vernacular", "vernacular-mlflow"])
def test_pods_are_restricted(helm: Helm, name: str) -> None:
    deployment = find(helm.render(BUNDLED), "Deployment", name)
    pod = deployment["spec"]["template"]["spec"]["securityContext"]

    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 65532
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_large_user_numbers_stay_integers(helm: Helm) -> None:
    user = 1_000_680_000
    values = {"mlflow": {"bundled": {"enabled": True, "runAsUser": user}}, "operator": {"runAsUser": user}}

    for deployment in deployments(helm.render(values)):
        context = deployment["spec"]["template"]["spec"]["securityContext"]
        assert [context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")] == [user] * 3
        assert all(isinstance(context[key], int) for key in ("runAsUser", "runAsGroup", "fsGroup"))


def test_one_operator_runs_at_a_time(helm: Helm) -> None:
    spec = find(helm.render(BUNDLED), "Deployment")["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_operator_is_probed_and_bounded(helm: Helm) -> None:
    operator = container(find(helm.render(BUNDLED), "Deployment"))

    ports = {port["name"]: port["containerPort"] for port in operator["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = operator[probe]["httpGet"]
        assert (get["path"], ports[get["port"]]) == ("/healthz", 8080)
    assert operator["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def test_only_the_operator_gets_a_token(helm: Helm) -> None:
    manifests = helm.render(BUNDLED)

    tokens = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["automountServiceAccountToken"]
        for each in deployments(manifests)
    }
    assert tokens == {"vernacular": True, "vernacular-mlflow": False}
    assert find(manifests, "ServiceAccount")["automountServiceAccountToken"] is False


def test_a_changed_configuration_restarts_the_operator(helm: Helm) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = find(helm.render(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(BUNDLED) == checksum({**BUNDLED, "operator": {"podLabels": {"a": "b"}}})
    assert checksum(BUNDLED) != checksum({**BUNDLED, "config": {"workers": 9}})


def test_what_is_said_about_the_operators_pod_reaches_it(helm: Helm) -> None:
    values = {
        **BUNDLED,
        "images": {"operator": "r/op:1", "pullPolicy": "Always", "pullSecrets": ["regcred"]},
        "operator": {
            "logLevel": "DEBUG",
            "podLabels": {"team": "hr"},
            "podAnnotations": {"note": "x"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
        },
    }

    template = find(helm.render(values), "Deployment")["spec"]["template"]
    pod, operator = template["spec"], template["spec"]["containers"][0]

    assert (operator["image"], operator["imagePullPolicy"]) == ("r/op:1", "Always")
    assert operator["args"][:3] == ["run", "--config=/etc/vernacular/config.yaml", "--log-level=DEBUG"]
    assert pod["imagePullSecrets"] == [{"name": "regcred"}]
    assert template["metadata"]["labels"]["team"] == "hr"
    assert template["metadata"]["annotations"]["note"] == "x"
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["priorityClassName"] == "high"


def test_the_operators_credentials_come_from_the_named_secret_alone(helm: Helm) -> None:
    values = {"mlflow": {"trackingUri": "http://mlflow", "credentialsSecretName": "mlflow-login"}}
    env = container(find(helm.render(values), "Deployment"))["env"]

    references = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in env}
    assert set(references) == {f"MLFLOW_TRACKING_{word}" for word in ("USERNAME", "PASSWORD", "TOKEN")}
    for name, reference in references.items():
        assert reference == {"name": "mlflow-login", "key": name, "optional": True}
    assert "env" not in container(find(helm.render(EXTERNAL), "Deployment"))


def test_an_external_server_replaces_the_bundled_one(helm: Helm) -> None:
    manifests = helm.render(EXTERNAL)

    assert names(manifests, "Deployment") == {"vernacular"}
    assert names(manifests, "Service") == names(manifests, "PersistentVolumeClaim") == set()


def test_the_crd_can_be_kept_dropped_and_left_out(helm: Helm) -> None:
    def annotations(crds: dict[str, bool]) -> Any:
        crd = find(helm.render({**BUNDLED, "crds": crds}), "CustomResourceDefinition", "finetunejobs.vernacular.dev")
        return crd["metadata"].get("annotations")

    assert annotations({}) == {"helm.sh/resource-policy": "keep"}
    assert annotations({"keep": False}) is None
    assert names(helm.render({**BUNDLED, "crds": {"enabled": False}}), "CustomResourceDefinition") == set()


def test_names_follow_release_and_overrides(helm: Helm) -> None:
    assert names(helm.render({**BUNDLED, "nameOverride": "tuner"}), "Deployment") == {
        "vernacular-tuner",
        "vernacular-tuner-mlflow",
    }
    assert names(helm.render({**BUNDLED, "fullnameOverride": "ft"}), "Deployment") == {"ft", "ft-mlflow"}


def test_a_server_is_reached_by_its_service_and_by_names_that_were_given(helm: Helm) -> None:
    bundled = {"enabled": True, "allowedHosts": ["10.96.*"], "service": {"clusterIP": "10.96.0.50"}}
    manifests = helm.render({"mlflow": {"externalUrl": "https://mlflow.example.com", "bundled": bundled}})
    args = container(find(manifests, "Deployment", "vernacular-mlflow"))["args"]

    (hosts,) = [argument.partition("=")[2].split(",") for argument in args if argument.startswith("--allowed-hosts=")]
    assert {"vernacular-mlflow.system:*", "localhost:*", "mlflow.example.com", "10.96.*"} <= set(hosts)
    assert "*" not in hosts
    assert "--cors-allowed-origins=https://mlflow.example.com" in args
    assert find(manifests, "Service", "vernacular-mlflow")["spec"]["clusterIP"] == "10.96.0.50"


def test_the_server_runs_no_jobs_reports_to_nobody_and_writes_only_to_its_volumes(helm: Helm) -> None:
    server = container(find(helm.render(BUNDLED), "Deployment", "vernacular-mlflow"))

    env = {each["name"]: each["value"] for each in server["env"]}
    assert env == {"HOME": "/tmp", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    assert {mount["mountPath"] for mount in server["volumeMounts"]} == {"/data", "/tmp"}
    assert server["startupProbe"]["httpGet"]["path"] == "/health"


def test_runs_and_models_outlive_the_chart_unless_told_otherwise(helm: Helm) -> None:
    def claim(storage: dict[str, Any]) -> Manifest:
        values = {"mlflow": {"bundled": {"enabled": True, "storage": storage}}}
        return find(helm.render(values), "PersistentVolumeClaim", "vernacular-mlflow")

    kept = claim({"size": "5Gi", "storageClassName": "fast"})
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert kept["spec"]["storageClassName"] == "fast"
    assert kept["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert "annotations" not in claim({"keep": False})["metadata"]
    assert "storageClassName" not in claim({})["spec"]


def test_selectors_tell_operator_and_server_apart(helm: Helm) -> None:
    manifests = helm.render(BUNDLED)
    labels = {each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"] for each in deployments(manifests)}
    service = find(manifests, "Service", "vernacular-mlflow")["spec"]["selector"]

    assert labels["vernacular-mlflow"] == service
    assert labels["vernacular"] != service


def test_nothing_of_helm_is_left_in_the_manifests(helm: Helm) -> None:
    text = helm.template(BUNDLED)

    assert "{{" not in text
    assert "<no value>" not in text
    assert all(document["metadata"]["name"] for document in yaml.safe_load_all(text) if document)
