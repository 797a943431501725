"""The OpenAI-compatible API of the chart: only on request, without rights, over TLS."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.apiserver import RESTRICTED, ApiError, ApiServer
from support.finetunejobs import at, both
from support.helm import BUNDLED, Helm, HelmError, Manifest, find
from vernacular_openai.config import ConfigError, ServiceConfig, load_config
from vernacular_operator.config import parse_config

NAME = "vernacular-openai"
ON: dict[str, Any] = both(
    BUNDLED,
    {
        "openaiApi": {
            "enabled": True,
            "tls": {"secretName": "openai-tls"},
            "models": {"gpt-4o-mini": {"model": {"uri": "hf://org/model"}, "compute": {"gpusPerPod": 2}}},
            "jobDefaults": {"dataset": {"personalData": "Redact"}},
        }
    },
)


@pytest.fixture(scope="module")
def manifests(helm: Helm) -> list[Manifest]:
    return helm.render(ON)


def test_it_is_not_there_unless_asked_for(helm: Helm) -> None:
    assert not [each for each in helm.render(BUNDLED) if each["metadata"]["name"].startswith(NAME)]


def test_without_a_certificate_it_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"a certificate for vernacular-openai\.system\.svc"):
        helm.render(both(BUNDLED, at("openaiApi.enabled", True)))


def test_its_configuration_is_read_as_it_was_written(manifests: list[Manifest], tmp_path: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(find(manifests, "ConfigMap", NAME)["data"]["config.yaml"])

    config = load_config(file)

    assert config == ServiceConfig.model_validate(
        {
            "downloadHost": "vernacular-openai.system.svc",
            "models": ON["openaiApi"]["models"],
            "jobDefaults": ON["openaiApi"]["jobDefaults"],
            "files": {"maxFileMiB": 512, "maxNamespaceMiB": 10240},
        }
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("downloadHost: x\nmodels: {a: {}}", "a must say which model it is"),
        ("downloadHost: x\nmodels: {a: {model: {uri: ftp://x}}}", "jobs of a would have a spec that is refused"),
        ("downloadHost: x\njobDefaults: {training: {epoch: 1}}", r"training\.epoch"),
        ("downloadHost: x\nnovelty: 1", "novelty"),
        ("downloadHost: https://x", "downloadHost"),
        ("a: [", "is no YAML"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Any, document: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(document)

    with pytest.raises(ConfigError, match=says):
        load_config(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nothing")


def test_jobs_may_read_its_files(helm: Helm, manifests: list[Manifest]) -> None:
    def hosts(found: list[Manifest]) -> tuple[str, ...]:
        return parse_config(yaml.safe_load(find(found, "ConfigMap")["data"]["config.yaml"])).https.hosts

    assert hosts(manifests) == ("vernacular-openai.system.svc",)
    others = both(ON, at("config.https.hosts", ["files.example.com"]))
    assert hosts(helm.render(others)) == ("files.example.com", "vernacular-openai.system.svc")
    assert hosts(helm.render(BUNDLED)) == ()


def test_it_has_no_rights(manifests: list[Manifest]) -> None:
    pod = find(manifests, "Deployment", NAME)["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == NAME
    subjects = [
        subject["name"] for each in manifests if each["kind"].endswith("RoleBinding") for subject in each["subjects"]
    ]
    assert NAME not in subjects
    assert not [volume for volume in pod["volumes"] if "projected" in volume or "serviceAccountToken" in str(volume)]


@pytest.mark.integration
def test_the_server_accepts_every_object_strictly(api_server: ApiServer, helm: Helm) -> None:
    namespace = api_server.new_namespace()
    text = helm.template(both(ON, at("networkPolicy.enabled", True)))
    text = text.replace("namespace: system", f"namespace: {namespace}")

    done = api_server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)

    assert done.returncode == 0, done.stderr


@pytest.mark.integration
def test_its_pod_passes_the_restricted_policy(api_server: ApiServer, manifests: list[Manifest]) -> None:
    namespace = api_server.new_namespace(labels=RESTRICTED)
    account = {"metadata": {"name": NAME}}
    api_server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    spec = find(manifests, "Deployment", NAME)["spec"]["template"]["spec"]
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"

    made = api_server.request("POST", path, {"metadata": {"name": "probe"}, "spec": spec})

    assert not [volume for volume in made["spec"]["volumes"] if volume["name"].startswith("kube-api-access")]
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api_server.request("POST", path, {"metadata": {"name": "probe"}, "spec": {**spec, "securityContext": {}}})
