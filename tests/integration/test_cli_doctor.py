"""The check-up of a real API server, with all rights and with none."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.command_line import Shell, shell_in
from support.service_accounts import write_kubeconfig

pytestmark = pytest.mark.integration


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    return api_server.new_namespace("cli")


def test_with_all_rights(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    done = shell_in(api_server, namespace, tmp_path).run("doctor")

    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✓ the cluster answers: Kubernetes v1.")
    assert "✓ the cluster's FineTuneJob has the fields that this command line knows" in lines
    assert f"✓ you may use FineTuneJobs in namespace {namespace}" in lines
    assert "✗ there is no operator" in lines
    assert "✗ no GPUs on 0 ready nodes" in lines
    assert "? MLflow: nothing says where it is" in lines


def test_without_any(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    api_server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "nobody"}})
    kubeconfig = write_kubeconfig(api_server, namespace, "nobody", tmp_path / "config")

    done = Shell(kubeconfig, tmp_path).run("doctor", "-n", namespace, "--mlflow", "http://127.0.0.1:9")

    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert f"✗ you may not create, get, list, watch, patch, delete FineTuneJobs in namespace {namespace}" in lines
    assert {line for line in lines if line.startswith("?")} == {"? the operator", "? GPUs", "? storage classes"}
    assert any(line.startswith("✗ MLflow at http://127.0.0.1:9 does not answer") for line in lines)
