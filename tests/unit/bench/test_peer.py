"""A manager's manifests beside the API server, its pinned modules, and the lines that compare a peer with ours."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import pytest
import yaml

from bench.operator.api import Counts
from bench.operator.life import Life, Start
from bench.operator.peer import Cost, compared
from devcluster.binaries import linker_flags
from support.managers import manifests
from support.managers.manifests import Ports
from support.managers.programs import JOBSET, KUEUE, TRAINER, Manager

PORTS = Ports(webhook=9443, health=8081)
SERVICE = {"service": {"name": "hooks", "namespace": "system", "path": "/mutate"}}
SHIPPED = {"leaderElection": {"leaderElect": True, "resourceName": "lease"}, "clientConnection": {"qps": 50}}


def documents() -> list[dict[str, Any]]:
    container = {"name": "manager", "args": ["--config=/there.yaml", "--zap-log-level=2"]}
    pod = {"containers": [container], "serviceAccountName": "manager"}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"path": "/convert"}}}}
    return [
        {"kind": "Namespace"},
        {"kind": "CustomResourceDefinition", "spec": {"conversion": conversion}},
        {"kind": "CustomResourceDefinition", "spec": {}},
        {"kind": "ConfigMap", "data": {"controller_manager_config.yaml": yaml.safe_dump(SHIPPED)}},
        {"kind": "ConfigMap", "metadata": {"name": "another"}},
        {"kind": "Deployment", "spec": {"template": {"spec": pod}}},
        {"kind": "MutatingWebhookConfiguration", "webhooks": [{"name": "m", "clientConfig": dict(SERVICE)}]},
    ]


def test_only_what_the_api_server_needs_is_installed_and_every_webhook_is_on_loopback() -> None:
    converted, plain, webhooks = manifests.installable(documents(), PORTS, b"authority")

    bundle = base64.b64encode(b"authority").decode()
    assert webhooks["webhooks"][0]["clientConfig"] == {"url": "https://127.0.0.1:9443/mutate", "caBundle": bundle}
    assert converted["spec"]["conversion"]["webhook"]["clientConfig"]["url"] == "https://127.0.0.1:9443/convert"
    assert plain == {"kind": "CustomResourceDefinition", "spec": {}}


def test_the_shipped_configuration_is_kept_but_for_addresses_lease_certificates_and_changes() -> None:
    changes = {"clientConnection": {"qps": 500, "burst": 600}, "manageJobsWithoutQueueName": True}
    config = manifests.configuration(documents(), PORTS, "certManagement", changes)

    assert config == {
        "leaderElection": {"leaderElect": False, "resourceName": "lease"},
        "clientConnection": {"qps": 500, "burst": 600},
        "certManagement": {"enable": False},
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": 9443},
        "manageJobsWithoutQueueName": True,
    }
    shipped = manifests.configuration(documents(), PORTS, "certManagement", {})
    assert shipped["clientConnection"] == SHIPPED["clientConnection"]


def test_the_manager_is_started_as_its_deployment_says() -> None:
    assert manifests.arguments(documents(), "/here.yaml") == ["--config=/here.yaml", "--zap-log-level=2"]
    assert manifests.account(documents()) == "manager"


@pytest.mark.parametrize("manager", [JOBSET, KUEUE, TRAINER], ids=lambda manager: str(manager.name))
def test_a_manager_is_locked(manager: Manager) -> None:
    assert f"{manager.module} {manager.version} h1:" in manager.module_file.with_suffix(".sum").read_text()
    assert linker_flags(manager.module_file.read_text()) == "-s -w"


def test_a_stage_of_ours_has_the_figures_of_the_peer_as_targets() -> None:
    peer = Cost(posted=3, create=20, finish=13, cpu=16, writes=9, objects=5, others=0)
    start = Start(count=1000, posted=2, create=10, memory=100, cpu=8, writes=5, others=0)
    ours = Life(
        start=start, finish=58, memory_peak=100, cpu=40, writes=24, objects=16, steady_writes=0, others=0
    )  # fmt: skip

    lines = {line.name: line for line in compared(1000, peer, ours) if line.target is not None}

    found = [(line.measured, line.target) for line in lines.values()]
    assert found == [(10, 20), (14.5, 13), (17, 33), (10, 16), (6, 9), (4, 5)]
    assert [line.met for line in lines.values()] == [True, False, True, True, True, True]


def test_an_object_is_counted_when_it_is_made_and_not_when_it_is_changed() -> None:
    requests = {
        ("POST", "jobs", "201"): 3,
        ("APPLY", "configmaps", "201"): 2,
        ("APPLY", "configmaps", "200"): 7,
        ("POST", "serviceaccounts/token", "201"): 1,
        ("POST", "subjectaccessreviews", "201"): 4,
        ("POST", "jobs", "409"): 1,
    }

    assert Counts(Counter(requests), Counter()).created() == {"jobs": 3, "configmaps": 2}
