"""Which cluster and which credentials: files merged as kubectl does, credential plugins, the account of a pod."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from vernacular.cli.cluster.credentials import credentials_of
from vernacular.cli.cluster.kubeconfig import Access, ExecPlugin, User, find_access
from vernacular.cli.errors import CliError, ExitCode

Json = dict[str, Any]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(
    path: Path, *, cluster: Json | None = None, user: Json | None = None, name: str = "a", **top: Any
) -> Path:
    config = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example.org", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"team-{name}"}}],
        "current-context": name,
        **top,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


def found(home: Path, *, flag: Path | None = None, context: str | None = None, **environment: str) -> Access:
    return find_access(str(flag) if flag else None, context, environment, home, home / "account")


def refusal(home: Path, **arguments: Any) -> CliError:
    with pytest.raises(CliError) as caught:
        found(home, **arguments)
    assert caught.value.code == ExitCode.NO_ACCESS
    return caught.value


def test_the_file_at_home(tmp_path: Path) -> None:
    kubeconfig(tmp_path / ".kube" / "config", user={"token": "secret"})

    access = found(tmp_path)

    assert (access.server, access.namespace, access.user.token) == ("https://a.example.org", "team-a", "secret")
    assert "secret" not in repr(access)


def test_the_environment_names_several_files_and_the_first_word_counts(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "1", name="a")
    second = kubeconfig(tmp_path / "2", name="b")
    third = kubeconfig(tmp_path / "3", name="a", cluster={"server": "https://other.example.org"})
    files = f"{tmp_path / 'missing'}:{first}:{second}:{third}"

    assert found(tmp_path, KUBECONFIG=files).server == "https://a.example.org"
    assert found(tmp_path, KUBECONFIG=files, context="b").namespace == "team-b"


def test_a_current_context_may_be_in_a_later_file(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "1", name="a", **{"current-context": ""})
    second = kubeconfig(tmp_path / "2", name="b")

    assert found(tmp_path, KUBECONFIG=f"{first}:{second}").namespace == "team-b"


def test_the_flag_wins_over_the_environment(tmp_path: Path) -> None:
    first, second = kubeconfig(tmp_path / "1", name="a"), kubeconfig(tmp_path / "2", name="b")

    assert found(tmp_path, flag=second, KUBECONFIG=str(first)).server == "https://b.example.org"


def test_files_of_a_kubeconfig_lie_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    kubeconfig(
        folder / "config",
        cluster={"certificate-authority": "ca.pem"},
        user={"client-certificate": "user.pem", "client-key-data": encoded("KEY"), "tokenFile": "token"},
    )
    for name in ("ca.pem", "user.pem", "token"):
        (folder / name).write_text(name)

    access = found(tmp_path, flag=folder / "config")

    assert access.authority == "ca.pem"
    assert (access.user.certificate, access.user.key) == (b"user.pem", b"KEY")
    assert credentials_of(access.user).token == "token"


def test_what_else_a_cluster_says(tmp_path: Path) -> None:
    cluster = {"insecure-skip-tls-verify": True, "tls-server-name": "kubernetes", "proxy-url": "http://proxy:3128"}
    user = {"as": "jane", "as-groups": ["hr", "it"]}

    access = found(tmp_path, flag=kubeconfig(tmp_path / "config", cluster=cluster, user=user))

    assert (access.verify, access.tls_server_name, access.proxy) == (False, "kubernetes", "http://proxy:3128")
    assert access.user.impersonation == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "hr"),
        ("Impersonate-Group", "it"),
    )


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_in_a_pod_its_account_is_used(tmp_path: Path, host: str, server: str) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, text in {"token": "T\n", "ca.crt": "CA", "namespace": "hr\n"}.items():
        (account / name).write_text(text)

    access = found(tmp_path, KUBERNETES_SERVICE_HOST=host, KUBERNETES_SERVICE_PORT="443")

    assert (access.server, access.namespace, access.authority) == (server, "hr", "CA")
    assert credentials_of(access.user).token == "T"


def test_no_kubeconfig_anywhere(tmp_path: Path) -> None:
    error = refusal(tmp_path)

    assert error.message == "there is no kubeconfig"
    assert "--kubeconfig" in error.advice


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no kubeconfig" in refusal(tmp_path, flag=tmp_path / "nope").message


@pytest.mark.parametrize("text", ["{", "[]", "a: *b"])
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)

    assert "not" in refusal(tmp_path, flag=tmp_path / "config").message


def test_a_context_with_a_slip(tmp_path: Path) -> None:
    error = refusal(tmp_path, flag=kubeconfig(tmp_path / "config", name="production"), context="prodution")

    assert error.message == "the kubeconfig has no context 'prodution'"
    assert error.advice == "did you mean production?"


def test_no_context_is_chosen(tmp_path: Path) -> None:
    error = refusal(tmp_path, flag=kubeconfig(tmp_path / "config", **{"current-context": ""}))

    assert "kubectl config use-context" in error.advice


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    flag = kubeconfig(tmp_path / "config", cluster={"certificate-authority": "gone.pem"})

    assert "certificate-authority of the kubeconfig cannot be read" in refusal(tmp_path, flag=flag).message


def test_an_auth_provider_of_long_ago(tmp_path: Path) -> None:
    flag = kubeconfig(tmp_path / "config", user={"auth-provider": {"name": "gcp"}})

    assert "credential plugin" in refusal(tmp_path, flag=flag).advice


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def printed(status: Json) -> str:
    return f"echo '{json.dumps({'kind': 'ExecCredential', 'status': status})}'"


def asked(home: Path, command: str, **entry: Any) -> Any:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, **entry}
    return credentials_of(found(home, flag=kubeconfig(home / "config", user={"exec": plugin})).user)


def test_a_plugin_beside_the_kubeconfig_prints_a_token(tmp_path: Path) -> None:
    body = 'echo "{\\"status\\": {\\"token\\": \\"$1-$REGION\\"}}"'
    script(tmp_path / "plugin", body)

    found_credentials = asked(tmp_path, "./plugin", args=["of"], env=[{"name": "REGION", "value": "eu"}])

    assert found_credentials.token == "of-eu"


def test_a_plugin_prints_a_certificate(tmp_path: Path) -> None:
    plugin = script(tmp_path / "plugin", printed({"clientCertificateData": "CERT", "clientKeyData": "KEY"}))

    credentials = asked(tmp_path, str(plugin))

    assert (credentials.certificate, credentials.key) == (b"CERT", b"KEY")
    assert "KEY" not in repr(credentials)


def test_a_plugin_is_told_of_the_cluster(tmp_path: Path) -> None:
    plugin = script(tmp_path / "plugin", f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info\n{printed({"token": "t"})}')

    asked(tmp_path, str(plugin), provideClusterInfo=True)

    info = json.loads((tmp_path / "info").read_text())
    assert info["apiVersion"] == "client.authentication.k8s.io/v1"
    assert info["spec"]["cluster"]["server"] == "https://a.example.org"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("exit 3", "ended with 3"),
        ("echo hello", "printed no ExecCredential"),
        (printed({"token": ""}), "printed no credentials"),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, body: str, says: str) -> None:
    plugin = script(tmp_path / "plugin", body)

    with pytest.raises(CliError, match=says):
        asked(tmp_path, str(plugin))


def test_a_plugin_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        asked(tmp_path, "no-such-plugin", installHint="Get it at example.org.")

    assert caught.value.message.endswith("no-such-plugin is not installed")
    assert caught.value.advice == "Get it at example.org."


def test_a_plugin_of_an_unknown_version() -> None:
    plugin = ExecPlugin("plugin", (), {}, "client.authentication.k8s.io/v9", "Never", "", None)

    with pytest.raises(CliError, match="v9, which is none of v1, v1beta1"):
        credentials_of(User(plugin=plugin))
