"""The chart as a team installs it that has rights in its own namespace and none in the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ApiServer
from support.deployed_operator import operator, wait
from support.fake_mlflow import FakeMlflow
from support.finetunejobs import finetunejob
from support.helm import CHART, Helm
from support.service_accounts import write_kubeconfig
from vernacular_operator.kube.rights import IN_ITS_OWN_NAMESPACE, IN_NAMESPACES

pytestmark = pytest.mark.integration

RBAC = "rbac.authorization.k8s.io"
ALL = ["get", "list", "watch", "create", "update", "patch", "delete"]
# what the chart installs, and where helm keeps its releases
INSTALLED = [
    {"apiGroups": [""], "resources": ["secrets", "serviceaccounts", "configmaps", "services"], "verbs": ALL},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ALL},
    {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ALL},
]


def add_installer(server: ApiServer, namespace: str) -> None:
    """An account that may do in its namespace what installing needs, and nothing elsewhere."""
    rules = [*INSTALLED, *(right.rule for right in (*IN_NAMESPACES, *IN_ITS_OWN_NAMESPACE))]
    metadata = {"name": "installer"}
    subject = {"kind": "ServiceAccount", "name": "installer", "namespace": namespace}
    role = {"apiGroup": RBAC, "kind": "Role", "name": "installer"}
    home = f"/apis/{RBAC}/v1/namespaces/{namespace}"
    server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": metadata})
    server.request("POST", f"{home}/roles", {"metadata": metadata, "rules": rules})
    server.request("POST", f"{home}/rolebindings", {"metadata": metadata, "roleRef": role, "subjects": [subject]})


def test_a_role_suffices_and_runs_are_told_from_those_of_other_clusters(
    api_server: ApiServer, helm: Helm, tmp_path: Path
) -> None:
    mine = api_server.new_namespace("team")
    add_installer(api_server, mine)
    kubeconfig = write_kubeconfig(api_server, mine, "installer", tmp_path / "installer")
    jobs = f"/apis/vernacular.dev/v1alpha1/namespaces/{mine}/finetunejobs"
    with FakeMlflow() as mlflow:
        values: dict[str, Any] = {
            "mlflow": {"trackingUri": mlflow.uri},
            "watchNamespaces": [mine],
            "crds": {"enabled": False},
            "rbac": {"aggregate": False},
        }
        target = ("-n", mine, f"--kubeconfig={kubeconfig}", "--set", "fullnameOverride=vernacular")
        helm.run("upgrade", "--install", "vernacular", str(CHART), *target, values=values)

        with operator(api_server, mine, tmp_path, with_authority=False) as process:
            uid = api_server.request("POST", jobs, finetunejob())["metadata"]["uid"]
            wait("no run was opened", lambda: bool(mlflow.runs_of(uid)), process.log)
        (run,) = mlflow.runs_of(uid)
        namespace = api_server.request("GET", f"/api/v1/namespaces/{mine}")
        assert run.tags["vernacular.dev/cluster"] == namespace["metadata"]["uid"]

        api_server.request("DELETE", f"{jobs}/hr-bot")
        with operator(api_server, mine, tmp_path, with_authority=False) as process:
            wait("the run was not closed", lambda: run.status == "KILLED", process.log)
