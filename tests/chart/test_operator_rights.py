"""The operator as the chart installs it, with its service account, rights and configuration, on a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ApiServer
from support.audit import audit_of
from support.deployed_operator import installed, operator, wait
from support.finetunejobs import at, both, finetunejob
from support.helm import Helm

pytestmark = pytest.mark.integration

# nobody listens there: the operator must say so in the status, and work on
VALUES: dict[str, Any] = {"mlflow": {"trackingUri": "http://127.0.0.1:9"}, "rbac": {"aggregate": False}}


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

    with installed(api_server, helm, system, values), operator(api_server, system, tmp_path) as process:
        log = process.log
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
