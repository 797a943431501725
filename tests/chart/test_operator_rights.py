"""The operator as the chart installs it, with its service account, rights and configuration, on a real API server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ApiServer
from support.audit import audit_of
from support.finetunejobs import at, both, finetunejob
from support.helm import CHART, Helm
from support.service_accounts import write_kubeconfig

pytestmark = pytest.mark.integration

# nobody listens there: the operator must say so in the status, and work on
VALUES: dict[str, Any] = {"mlflow": {"trackingUri": "http://127.0.0.1:9"}, "rbac": {"aggregate": False}}


@contextmanager
def installed(api_server: ApiServer, helm: Helm, namespace: str, values: dict[str, Any]) -> Iterator[None]:
    """The chart as a release called like its namespace, so that cluster roles of two releases differ."""
    target = ("-n", namespace, f"--kubeconfig={api_server.kubeconfig}")
    options = ("--set", "fullnameOverride=vernacular", "--take-ownership")
    helm.run("upgrade", "--install", "vernacular", str(CHART), *target, *options, values=values)
    try:
        yield
    finally:
        helm.run("uninstall", "vernacular", *target)


@contextmanager
def operator(api_server: ApiServer, namespace: str, folder: Path) -> Iterator[Path]:
    """The operator's process with the configuration and the rights of its Deployment; yields its log."""
    config_map = api_server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/vernacular")
    (folder / "config.yaml").write_text(config_map["data"]["config.yaml"], encoding="utf-8")
    write_kubeconfig(api_server, namespace, "vernacular", folder / "kubeconfig")
    deployment = api_server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/vernacular")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    args = [each.replace("/etc/vernacular", str(folder)) for each in container["args"]]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        health = f"http://127.0.0.1:{probe.getsockname()[1]}{container['livenessProbe']['httpGet']['path']}"
    log = folder / "operator.log"
    command = [sys.executable, "-m", "vernacular_operator", *args]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--kubeconfig={folder / 'kubeconfig'}", f"--liveness={health}"], stdout=output, stderr=output
        )
    try:
        wait("the operator is not healthy", lambda: healthy(health), log)
        yield log
    finally:
        process.terminate()
        process.wait(30)


def healthy(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(what: str, condition: Callable[[], bool], log: Path, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {timeout} s:\n{log.read_text(errors='replace')[-3000:]}"
        time.sleep(0.1)


@pytest.mark.parametrize("namespaced", [False, True], ids=["cluster", "namespaced"])
def test_the_rights_suffice_and_nothing_is_refused(
    api_server: ApiServer, helm: Helm, tmp_path: Path, namespaced: bool
) -> None:
    system, mine = api_server.new_namespace("system"), api_server.new_namespace("jobs")
    jobs = f"/apis/vernacular.dev/v1alpha1/namespaces/{mine}/finetunejobs"
    children = f"/apis/batch/v1/namespaces/{mine}/jobs"
    values = both(VALUES, at("watchNamespaces", [mine] if namespaced else []))

    def stages() -> list[str]:
        return [each["metadata"]["name"] for each in api_server.request("GET", children)["items"]]

    def status() -> dict[str, Any]:
        found: dict[str, Any] = api_server.request("GET", f"{jobs}/hr-bot").get("status", {})
        return found

    with installed(api_server, helm, system, values), operator(api_server, system, tmp_path) as log:
        job = api_server.request("POST", jobs, finetunejob(patch=at("runPolicy.suspend", False)))
        wait("no stage began", lambda: bool(stages()), log)
        wait("no status was written", lambda: "state" in status(), log)
        suspend = {"spec": {"runPolicy": {"suspend": True}}}
        api_server.request("PATCH", f"{jobs}/hr-bot", suspend, "application/merge-patch+json")
        wait("the stage was not stopped", lambda: status()["state"] == "Suspended", log)

    owned = api_server.request("GET", f"/api/v1/namespaces/{mine}/persistentvolumeclaims")["items"]
    assert [each["metadata"]["ownerReferences"][0]["uid"] for each in owned] == [job["metadata"]["uid"]]
    assert api_server.request("GET", f"/api/v1/namespaces/{mine}/events")["items"]
    assert audit_of(api_server, "vernacular", system).refused == ()


def test_secrets_and_config_maps_are_out_of_reach(api_server: ApiServer, helm: Helm, tmp_path: Path) -> None:
    system = api_server.new_namespace("system")
    with installed(api_server, helm, system, VALUES):
        user = f"system:serviceaccount:{system}:vernacular"
        answers = {
            (verb, resource): allowed(api_server, user, verb, resource)
            for verb in ("get", "list", "create", "delete")
            for resource in ("secrets", "configmaps", "pods/exec", "deployments", "nodes")
        }

    assert set(answers.values()) == {False}


def allowed(api_server: ApiServer, user: str, verb: str, resource: str) -> bool:
    name, _, part = resource.partition("/")
    attributes = {"verb": verb, "resource": name, "subresource": part, "group": "", "namespace": "default"}
    review = {"spec": {"user": user, "resourceAttributes": attributes}}
    answer = api_server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
