"""Command lines of the components: the security settings that must never get lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import component_args
from devcluster.component_args import Endpoints
from devcluster.control_plane import free_ports
from devcluster.layout import Node
from devcluster.pki import Pki

AT = Endpoints("10.200.0.1", 6443, 2379, 2380)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def values(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_api_server_refuses_anonymous_requests_and_asks_node_and_rbac(pki: Pki) -> None:
    found = values(component_args.api_server(pki, AT, audit=None, on_loopback=False))
    assert found["anonymous-auth"] == "false"
    assert found["authorization-mode"] == "Node,RBAC"
    assert found["enable-admission-plugins"] == "NodeRestriction,OwnerReferencesPermissionEnforcement"
    assert found["bind-address"] == found["advertise-address"] == "10.200.0.1"
    assert found["kubelet-certificate-authority"] == str(pki.certificate("ca"))


def test_api_server_on_loopback_is_no_endpoint_of_its_service(pki: Pki) -> None:
    on_loopback = values(component_args.api_server(pki, AT, audit=None, on_loopback=True))
    assert on_loopback["endpoint-reconciler-type"] == "none"
    assert "endpoint-reconciler-type" not in values(component_args.api_server(pki, AT, audit=None, on_loopback=False))


def test_audit_log_is_written_on_request_only(pki: Pki) -> None:
    audit = (Path("/policy"), Path("/audit.log"))
    found = values(component_args.api_server(pki, AT, audit=audit, on_loopback=True))
    assert (found["audit-policy-file"], found["audit-log-path"]) == ("/policy", "/audit.log")
    assert "audit-log-path" not in values(component_args.api_server(pki, AT, audit=None, on_loopback=True))


def test_etcd_takes_certificates_of_its_authority_only_on_both_ports(pki: Pki) -> None:
    found = values(component_args.etcd(Path("/data"), pki, AT))
    for prefix in ("", "peer-"):
        assert found[f"{prefix}client-cert-auth"] == "true"
        assert found[f"{prefix}trusted-ca-file"] == str(pki.certificate("etcd-ca"))
    assert found["listen-client-urls"] == "https://127.0.0.1:2379"
    assert found["listen-peer-urls"] == "https://127.0.0.1:2380"


def test_controllers_open_no_port_and_do_not_crawl(pki: Pki) -> None:
    manager = values(component_args.controller_manager(pki, Path("/k")))
    scheduler = values(component_args.scheduler(Path("/k")))
    assert manager["secure-port"] == scheduler["secure-port"] == "0"
    assert int(manager["kube-api-qps"]) >= 200
    assert manager["use-service-account-credentials"] == "true"


def test_node_agents_go_by_the_node_name() -> None:
    node = Node(2)
    kubelet = values(component_args.kubelet(node, config=Path("/c"), kubeconfig=Path("/k"), folder=Path("/f")))
    assert (kubelet["hostname-override"], kubelet["node-ip"]) == ("node-2", "10.200.2.2")
    assert values(component_args.proxy(node, Path("/k")))["hostname-override"] == "node-2"


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
