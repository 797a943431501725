"""How the command line reaches a real API server, and what it says when it does not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.answering_server import AnsweringServer
from support.apiserver import ApiServer
from support.command_line import Shell, shell_at
from support.finetunejobs import finetunejob
from support.service_accounts import write_kubeconfig

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def namespace(api_server: ApiServer) -> str:
    name = api_server.new_namespace("cli")
    api_server.request("POST", f"/apis/vernacular.dev/v1alpha1/namespaces/{name}/finetunejobs", finetunejob())
    return name


@pytest.fixture
def account(api_server: ApiServer, namespace: str, tmp_path: Path) -> Path:
    """Kubeconfig of a service account without any right."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    name = f"nobody-{tmp_path.name.replace('_', '-')[-20:].strip('-')}"
    api_server.request("POST", path, {"metadata": {"name": name}})
    return write_kubeconfig(api_server, namespace, name, tmp_path / "nobody.kubeconfig")


def changed(kubeconfig: Path, target: Path, **user: Any) -> Path:
    """The same cluster for another user."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = user
    target.write_text(yaml.safe_dump(config))
    return target


def token_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


def allow(server: ApiServer, namespace: str, account: Path) -> None:
    """Let the account read jobs."""
    name = yaml.safe_load(account.read_text())["current-context"]
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": ["vernacular.dev"], "resources": ["finetunejobs"], "verbs": ["get", "list", "watch"]}
    server.request("POST", f"{base}/roles", {"metadata": {"name": name}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    server.request("POST", f"{base}/rolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})


def test_with_a_client_certificate(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    done = Shell(api_server.kubeconfig, tmp_path).run("list", "-n", namespace)

    assert done.returncode == 0, done.stderr
    assert "hr-bot" in done.stdout


def test_with_a_token(api_server: ApiServer, namespace: str, account: Path, tmp_path: Path) -> None:
    allow(api_server, namespace, account)

    done = Shell(account, tmp_path).run("list", "-n", namespace)

    assert done.returncode == 0, done.stderr
    assert "hr-bot" in done.stdout


def test_with_a_credential_plugin(api_server: ApiServer, namespace: str, account: Path, tmp_path: Path) -> None:
    allow(api_server, namespace, account)
    credentials = json.dumps({"status": {"token": token_of(account)}})
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [credentials]}
    kubeconfig = changed(account, tmp_path / "plugin.kubeconfig", exec=plugin)

    done = Shell(kubeconfig, tmp_path).run("-n", namespace, "list")

    assert done.returncode == 0, done.stderr
    assert "hr-bot" in done.stdout


def test_without_the_right(namespace: str, account: Path, tmp_path: Path) -> None:
    done = Shell(account, tmp_path).run("list", "-n", namespace)

    assert done.returncode == 4
    assert 'cannot list resource "finetunejobs"' in done.stderr
    assert f"ask who runs the cluster for this right in namespace {namespace}" in done.stderr


def test_with_credentials_that_do_not_hold(namespace: str, account: Path, tmp_path: Path) -> None:
    kubeconfig = changed(account, tmp_path / "old.kubeconfig", token="old")

    done = Shell(kubeconfig, tmp_path).run("list", "-n", namespace)

    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "Error: the cluster does not accept these credentials",
        "  log in to the cluster again",
    ]


def test_a_server_that_another_authority_vouches_for(account: Path, namespace: str, tmp_path: Path) -> None:
    config = yaml.safe_load(account.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "config").write_text(yaml.safe_dump(config))

    done = Shell(tmp_path / "config", tmp_path).run("list", "-n", namespace)

    assert done.returncode == 4
    assert "certificate verify failed" in done.stderr


@pytest.mark.parametrize(("name", "status"), [("kubernetes.default", 0), ("example.org", 4)])
def test_another_name_in_the_certificate_of_the_server(
    api_server: ApiServer, account: Path, namespace: str, tmp_path: Path, name: str, status: int
) -> None:
    allow(api_server, namespace, account)
    config = yaml.safe_load(account.read_text())
    config["clusters"][0]["cluster"]["tls-server-name"] = name
    (tmp_path / "config").write_text(yaml.safe_dump(config))

    done = Shell(tmp_path / "config", tmp_path).run("list", "-n", namespace)

    assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    "changes", [{"server": "10.0.0.1:6443"}, {"proxy-url": "proxy:3128"}, {"server": "https://[x"}]
)
def test_an_address_that_is_none(account: Path, tmp_path: Path, changes: dict[str, str]) -> None:
    config = yaml.safe_load(account.read_text())
    config["clusters"][0]["cluster"] |= changes
    (tmp_path / "config").write_text(yaml.safe_dump(config))

    done = Shell(tmp_path / "config", tmp_path).run("list")

    assert done.returncode == 4, done.stderr


def test_names_are_no_paths(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    shell = Shell(api_server.kubeconfig, tmp_path)

    assert "is no name of a namespace" in shell.run("list", "-n", "../x").stderr
    assert "there is no FineTuneJob 'hr-bot/status'" in shell.run("describe", "hr-bot/status", "-n", namespace).stderr
    assert "there is no FineTuneJob ''" in shell.run("describe", "", "-n", namespace).stderr


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"

    done = shell_at(address, tmp_path).run("list")

    assert done.returncode == 4
    assert done.stderr.startswith(f"Error: the cluster at {address} does not answer: ")
    assert "kubectl cluster-info" in done.stderr


class _WithoutTheCrd(AnsweringServer):
    """Answers as an API server does for a group that it does not know."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        return 404, "404 page not found\n"


@pytest.fixture
def without_the_crd() -> Iterator[str]:
    with _WithoutTheCrd() as server:
        yield server.uri


@pytest.mark.parametrize("arguments", [("list",), ("describe", "hr-bot")])
def test_a_cluster_without_the_crd(without_the_crd: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = shell_at(without_the_crd, tmp_path).run(*arguments)

    assert done.returncode == 4
    assert "this cluster does not know FineTuneJobs" in done.stderr


def test_no_kubeconfig(tmp_path: Path) -> None:
    done = Shell(None, tmp_path).run("list")

    assert done.returncode == 4
    assert "there is no kubeconfig" in done.stderr
