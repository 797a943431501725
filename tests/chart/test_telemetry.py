"""Logs and metrics of the operator as the chart installs it."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ApiServer
from support.deployed_operator import installed, operator, wait
from support.finetunejobs import both, finetunejob
from support.helm import Helm, HelmError, find, names

VALUES: dict[str, Any] = {"mlflow": {"trackingUri": "http://127.0.0.1:9"}, "rbac": {"aggregate": False}}


def container(helm: Helm, values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = find(helm.render(both(VALUES, values)), "Deployment")["spec"]["template"]["spec"]
    return dict(found["containers"][0])


def test_json_and_a_port_for_metrics_are_the_default(helm: Helm) -> None:
    found = container(helm, {})

    assert {"--log-format=json", "--metrics-port=8081"} <= set(found["args"])
    assert {"name": "metrics", "containerPort": 8081} in found["ports"]


def test_metrics_can_be_left_out(helm: Helm) -> None:
    found = container(helm, {"metrics": {"enabled": False}, "logging": {"format": "text"}})

    assert "--log-format=text" in found["args"]
    assert not [each for each in found["args"] if each.startswith("--metrics-port")]
    assert [each["name"] for each in found["ports"]] == ["health"]


def test_a_pod_monitor_selects_the_operators_pods(helm: Helm) -> None:
    values = {"metrics": {"podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}}}}
    manifests = helm.render(both(VALUES, values))
    monitor = find(manifests, "PodMonitor")
    pod = find(manifests, "Deployment")["spec"]["template"]["metadata"]

    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["labels"].items()
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "interval": "15s"}]


def test_no_pod_monitor_unless_asked_for(helm: Helm) -> None:
    disabled = {"metrics": {"enabled": False, "podMonitor": {"enabled": True}}}

    assert not names(helm.render(VALUES), "PodMonitor")
    assert not names(helm.render(both(VALUES, disabled)), "PodMonitor")


@pytest.mark.parametrize("port", [8080, 80, "8081"], ids=str)
def test_a_port_that_cannot_be_is_refused(helm: Helm, port: Any) -> None:
    with pytest.raises(HelmError, match="port"):
        helm.template(both(VALUES, {"metrics": {"port": port}}))


@pytest.mark.integration
def test_a_job_is_seen_in_metrics_and_logs(api_server: ApiServer, helm: Helm, tmp_path: Path) -> None:
    system, mine = api_server.new_namespace("system"), api_server.new_namespace("jobs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    def metrics() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return [line for line in answer.read().decode().splitlines() if not line.startswith("#")]

    # jobs that other tests left on this server are not counted
    values = both(VALUES, {"watchNamespaces": [mine]})
    with installed(api_server, helm, system, values), operator(api_server, system, tmp_path, port) as process:
        api_server.request("POST", f"/apis/vernacular.dev/v1alpha1/namespaces/{mine}/finetunejobs", finetunejob())
        wait("no state is counted", lambda: 'vernacular_jobs{state="Preparing"} 1.0' in metrics(), process.log)
        wait("no Job was counted", lambda: any("POST" in line and '"jobs"' in line for line in metrics()), process.log)
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if not line.startswith("===")]
    about = [line for line in lines if line.get("job") == "hr-bot"]
    assert {line["namespace"] for line in about} == {mine}
    assert any("Preparing" in line["message"] for line in about)
