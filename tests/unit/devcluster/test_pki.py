"""Certificates: what they say, and that openssl's own verification accepts them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devcluster.pki import Certificate, Pki, control_plane_certificates, extensions, node_certificates


def test_api_server_certificate_names_every_way_to_reach_it() -> None:
    server = next(each for each in control_plane_certificates("10.200.0.1") if each.name == "apiserver")
    assert {"IP:10.200.0.1", "IP:127.0.0.1", "IP:10.96.0.1", "DNS:kubernetes.default.svc"} <= set(server.names)
    assert server.usage == "serverAuth"


def test_addresses_are_not_repeated_on_loopback() -> None:
    server = next(each for each in control_plane_certificates("127.0.0.1") if each.name == "apiserver")
    assert server.names.count("IP:127.0.0.1") == 1


def test_only_the_admin_is_in_the_group_that_may_do_everything() -> None:
    every = [*control_plane_certificates("10.200.0.1"), *node_certificates("node-1", "10.200.1.2")]
    assert [each.name for each in every if each.group == "system:masters"] == ["admin"]


def test_kubelet_identity_is_what_the_node_authorizer_expects() -> None:
    client, serving = node_certificates("node-3", "10.200.3.2")
    assert (client.user, client.group, client.usage) == ("system:node:node-3", "system:nodes", "clientAuth")
    assert serving.names == ("IP:10.200.3.2", "DNS:node-3")
    assert serving.usage == "serverAuth"


def test_etcd_trusts_an_authority_of_its_own() -> None:
    by_name = {each.name: each for each in control_plane_certificates("127.0.0.1")}
    assert {by_name[name].authority for name in ("etcd", "etcd-client")} == {"etcd-ca"}
    assert by_name["admin"].authority == "ca"


def test_extensions_of_a_client_have_no_names() -> None:
    text = extensions(Certificate("c", "user", "group", "clientAuth"))
    assert "subjectAltName" not in text
    assert "CA:FALSE" in text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki") / "pki")
    pki.make_authorities()
    for certificate in (*control_plane_certificates("127.0.0.1"), *node_certificates("node-1", "10.200.1.2")):
        pki.issue(certificate)
    return pki


def verify(pki: Pki, authority: str, name: str) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-CAfile", pki.certificate(authority), pki.certificate(name)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("authority", "name", "accepted"),
    [
        ("ca", "admin", True),
        ("ca", "node-1-serving", True),
        ("etcd-ca", "etcd-client", True),
        ("front-proxy-ca", "front-proxy-client", True),
        ("etcd-ca", "node-1", False),
        ("front-proxy-ca", "admin", False),
    ],
)
def test_each_authority_vouches_for_its_own_only(made: Pki, authority: str, name: str, accepted: bool) -> None:
    assert verify(made, authority, name) is accepted


def test_keys_are_private_and_requests_are_not_left(made: Pki) -> None:
    folder = made.key("ca").parent
    assert {oct(key.stat().st_mode & 0o777) for key in folder.glob("*.key")} == {"0o600"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [*folder.glob("*.csr"), *folder.glob("*.ext")]


def test_subject_carries_user_and_group(made: Pki, tmp_path: Path) -> None:
    command = ["openssl", "x509", "-in", made.certificate("node-1"), "-noout", "-subject", "-nameopt", "RFC2253"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == (
        "subject=CN=system:node:node-1,O=system:nodes"
    )
