"""Who may talk to whom with the chart's NetworkPolicies, worked out for the pods that there really are.

The network of the dev cluster enforces no policies, so this reads them as a network plugin would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from support.apiserver import ApiServer
from support.finetunejobs import both
from support.helm import BUNDLED, Helm, Manifest, find
from support.worlds import config, fine_tune_job
from vernacular.api import Stage
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt

NAMED = {"health": 8080, "metrics": 8081}
ON: dict[str, Any] = {"networkPolicy": {"enabled": True}, "watchNamespaces": ["hr"]}


@dataclass(frozen=True)
class Place:
    """A pod, or somewhere outside of the cluster (no namespace)."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()


OUTSIDE = Place()


def stage_pod(stage: Stage, namespace: str = "hr") -> Place:
    template = stage_job(Attempt(fine_tune_job(), stage, 1, "run-1"), config())["spec"]["template"]
    return Place(namespace, tuple(template["metadata"]["labels"].items()))


def chart_pod(manifests: list[Manifest], name: str) -> Place:
    template = find(manifests, "Deployment", name)["spec"]["template"]
    return Place("system", tuple(template["metadata"]["labels"].items()))


class Network:
    """All policies of a chart; its named ports are those of the operator."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.policies = [each for each in manifests if each["kind"] == "NetworkPolicy"]

    def allows(self, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
        return self._direction("Egress", source, target, port, protocol) and self._direction(
            "Ingress", target, source, port, protocol
        )

    def _direction(self, kind: str, subject: Place, peer: Place, port: int, protocol: str) -> bool:
        applying = [
            policy["spec"]
            for policy in self.policies
            if policy["metadata"]["namespace"] == subject.namespace
            and kind in policy["spec"]["policyTypes"]
            and selects(policy["spec"]["podSelector"], dict(subject.labels))
        ]
        side = "to" if kind == "Egress" else "from"
        return not applying or any(
            _ports(rule, port, protocol) and (side not in rule or any(_is(each, subject, peer) for each in rule[side]))
            for spec in applying
            for rule in spec[kind.lower()]
        )


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert {each["operator"] for each in expressions} <= {"Exists"}
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(each["key"] in labels for each in expressions)


def _ports(rule: dict[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    wanted = [(NAMED.get(each["port"], each["port"]), each.get("protocol", "TCP")) for each in ports or ()]
    return ports is None or (port, protocol) in wanted


def _is(peer: dict[str, Any], subject: Place, place: Place) -> bool:
    if not place.namespace:
        return False
    spaces = peer.get("namespaceSelector")
    known = {"kubernetes.io/metadata.name": place.namespace}
    near = place.namespace == subject.namespace if spaces is None else selects(spaces, known)
    return near and selects(peer.get("podSelector", {}), dict(place.labels))


@pytest.fixture(scope="module")
def manifests(helm: Helm) -> list[Manifest]:
    return helm.render(both(BUNDLED, ON))


def test_nothing_is_restricted_unless_asked_for(helm: Helm) -> None:
    assert Network(helm.render(BUNDLED)).policies == []


def test_every_pod_reaches_what_it_needs(manifests: list[Manifest]) -> None:
    network, mlflow = Network(manifests), chart_pod(manifests, "vernacular-mlflow")
    operator, train = chart_pod(manifests, "vernacular"), stage_pod(Stage.TRAIN)

    for pod in (operator, *map(stage_pod, Stage)):
        assert network.allows(pod, OUTSIDE, 53, "UDP")
        assert network.allows(pod, OUTSIDE, 53, "TCP")
        assert network.allows(pod, mlflow, 5000)
    assert network.allows(operator, OUTSIDE, 6443)
    assert network.allows(OUTSIDE, operator, 8080)
    assert network.allows(OUTSIDE, operator, 8081)
    assert network.allows(stage_pod(Stage.PREPARE), OUTSIDE, 443)
    assert all(network.allows(train, train, port) for port in (29400, 29500, 41234))


def test_no_pod_reaches_what_it_does_not_need(manifests: list[Manifest]) -> None:
    network, mlflow = Network(manifests), chart_pod(manifests, "vernacular-mlflow")
    operator, stranger = chart_pod(manifests, "vernacular"), Place("hr", (("app", "web"),))

    for stage in Stage:
        pod = stage_pod(stage)
        assert not network.allows(pod, OUTSIDE, 6443)
        assert network.allows(pod, OUTSIDE, 443) == (stage is Stage.PREPARE)
        assert not network.allows(pod, operator, 8081)
        assert not network.allows(pod, pod, 8080) or stage is Stage.TRAIN
        assert not network.allows(stranger, pod, 29400)
        assert not network.allows(OUTSIDE, pod, 8080)
    assert not network.allows(stage_pod(Stage.TRAIN), stage_pod(Stage.EVALUATE), 29400)
    assert not network.allows(stage_pod(Stage.TRAIN), stage_pod(Stage.TRAIN, "legal"), 29400)
    assert not network.allows(stranger, mlflow, 5000)
    assert not network.allows(mlflow, OUTSIDE, 443)
    assert not network.allows(operator, stranger, 80)


@pytest.mark.parametrize(
    ("uri", "port"),
    [("http://mlflow.example:5001/x", 5001), ("https://mlflow.example", 443), ("http://mlflow.example/x", 80)],
)
def test_an_external_server_is_reached_on_its_port_alone(helm: Helm, uri: str, port: int) -> None:
    network = Network(helm.render(both(ON, {"mlflow": {"trackingUri": uri}})))

    pod = stage_pod(Stage.PUBLISH)
    assert [each for each in (80, 443, 5000, 5001) if network.allows(pod, OUTSIDE, each)] == [port]


def test_namespaces_of_jobs_and_egress_can_be_chosen(helm: Helm) -> None:
    hub = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
    chosen = {"networkPolicy": {"enabled": True, "namespaces": ["legal"], "prepareEgress": hub, "dnsPorts": [53, 5353]}}
    network = Network(helm.render(both(BUNDLED, chosen)))

    assert {each["metadata"]["namespace"] for each in network.policies} == {"system", "legal"}
    assert (
        next(each for each in network.policies if each["metadata"]["name"].endswith("-prepare"))["spec"]["egress"]
        == hub
    )
    assert network.allows(stage_pod(Stage.TRAIN, "legal"), OUTSIDE, 5353, "UDP")


def test_evaluate_pods_alone_go_where_a_judge_is(helm: Helm) -> None:
    judge = {"networkPolicy": {"enabled": True, "namespaces": ["hr"], "evaluateEgress": [{"ports": [{"port": 8443}]}]}}
    network = Network(helm.render(both(BUNDLED, judge)))

    reach = [stage for stage in Stage if network.allows(stage_pod(stage), OUTSIDE, 8443)]

    assert reach == [Stage.EVALUATE]
    assert not network.allows(stage_pod(Stage.EVALUATE), OUTSIDE, 443)


def test_the_openai_api_reaches_kubernetes_and_prepare_pods_reach_it(helm: Helm) -> None:
    api: dict[str, Any] = {"openaiApi": {"enabled": True, "tls": {"secretName": "openai-tls"}}}
    closed = {"networkPolicy": {"prepareEgress": []}}
    manifests = helm.render(both(BUNDLED, ON, api, closed))
    network, service = Network(manifests), chart_pod(manifests, "vernacular-openai")

    assert [stage for stage in Stage if network.allows(stage_pod(stage), service, 8443)] == [Stage.PREPARE]
    assert network.allows(OUTSIDE, service, 8443)
    assert network.allows(service, OUTSIDE, 6443)
    assert network.allows(service, OUTSIDE, 53, "UDP")
    assert not network.allows(service, chart_pod(manifests, "vernacular-mlflow"), 5000)
    assert not network.allows(OUTSIDE, service, 8080)


@pytest.mark.integration
def test_the_server_accepts_the_policies_strictly(api_server: ApiServer, manifests: list[Manifest]) -> None:
    namespace = api_server.new_namespace()
    for policy in Network(manifests).policies:
        path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        body = {**policy, "metadata": {**policy["metadata"], "namespace": namespace}}
        api_server.request("POST", f"{path}?fieldValidation=Strict&dryRun=All", body)
