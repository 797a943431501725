"""The chart on a real API server: valid objects, restricted pods, installing and removing, what helm says next."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.apiserver import RESTRICTED, ApiServer
from support.finetunejobs import both, finetunejob
from support.helm import BUNDLED, CHART, Helm, find

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["default"]}], ids=["cluster", "namespaced"])
def test_the_server_accepts_every_object_strictly(api_server: ApiServer, helm: Helm, values: dict[str, Any]) -> None:
    namespace = api_server.new_namespace()
    text = helm.template(both(BUNDLED, values)).replace("namespace: system", f"namespace: {namespace}")

    done = api_server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["vernacular", "vernacular-mlflow"])
def test_pods_pass_the_restricted_policy(api_server: ApiServer, helm: Helm, name: str) -> None:
    namespace = api_server.new_namespace(labels=RESTRICTED)
    template = find(helm.render(BUNDLED), "Deployment", name)["spec"]["template"]
    account = template["spec"].get("serviceAccountName", "default")
    api_server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": account}})
    pod = {"metadata": {"name": "probe"}, "spec": template["spec"]}

    created = api_server.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)

    assert created["metadata"]["name"] == "probe"
    pod["spec"] = {**pod["spec"], "securityContext": {}}
    done = api_server.kubectl(
        "create", "--dry-run=server", "-n", namespace, "-f", "-",
        stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **pod}),
    )  # fmt: skip
    assert "violates PodSecurity" in done.stderr


def install(api_server: ApiServer, helm: Helm, values: dict[str, Any], *options: str) -> str:
    """`helm upgrade --install`; the CRD that other tests put there is taken over."""
    return helm.run(
        "upgrade", "--install", "vernacular", str(CHART), f"--kubeconfig={api_server.kubeconfig}", "--take-ownership",
        *options, values=values,
    )  # fmt: skip


def notes(api_server: ApiServer, helm: Helm, values: dict[str, Any]) -> str:
    return install(api_server, helm, values, "--dry-run=client", "-n", "system").partition("NOTES:")[2]


def test_helm_says_what_to_do_next(api_server: ApiServer, helm: Helm) -> None:
    bundled = notes(api_server, helm, BUNDLED)
    assert "kubectl rollout status deployment/vernacular -n system" in bundled
    assert "kubectl port-forward service/vernacular-mlflow 5000 -n system" in bundled
    external = notes(api_server, helm, {"mlflow": {"trackingUri": "http://mlflow:5000"}, "watchNamespaces": ["hr"]})
    assert "Look at runs and models at http://mlflow:5000" in external
    assert "kubectl get ftj -n hr --watch" in external
    assert "crds.enabled=false" in notes(api_server, helm, {**BUNDLED, "crds": {"enabled": False}})


def test_the_job_in_the_notes_is_accepted(api_server: ApiServer, helm: Helm) -> None:
    manifest = notes(api_server, helm, BUNDLED).partition("<<JOB\n")[2].partition("JOB\n")[0]

    done = api_server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("finetunejob.vernacular.dev/my-bot ")


def test_jobs_and_runs_outlive_the_chart(api_server: ApiServer, helm: Helm) -> None:
    namespace = api_server.new_namespace()
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/vernacular-mlflow"
    jobs = f"/apis/vernacular.dev/v1alpha1/namespaces/{namespace}/finetunejobs"
    release = ("-n", namespace, f"--kubeconfig={api_server.kubeconfig}")
    install(api_server, helm, BUNDLED, "-n", namespace)
    job = api_server.request("POST", jobs, finetunejob())

    helm.run("uninstall", "vernacular", *release)

    assert api_server.request("GET", f"{jobs}/hr-bot")["metadata"]["uid"] == job["metadata"]["uid"]
    kept = api_server.request("GET", claim)["metadata"]["uid"]
    deployments = api_server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")
    assert [each["metadata"]["name"] for each in deployments["items"]] == []
    install(api_server, helm, BUNDLED, "-n", namespace)
    assert api_server.request("GET", claim)["metadata"]["uid"] == kept
    helm.run("uninstall", "vernacular", *release)
