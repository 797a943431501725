"""Changes to a manager's manifests, so that it runs beside the API server instead of in a pod."""

from __future__ import annotations

import base64
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Json = dict[str, Any]

_INSTALLED = frozenset({
    "CustomResourceDefinition", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
})  # fmt: skip
_CONFIGURATION = "controller_manager_config.yaml"
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where a manager listens on loopback."""

    webhook: int
    health: int


def installable(documents: Sequence[Json], ports: Ports, authority: bytes) -> list[Json]:
    """CRDs, rights and webhooks, the latter at the manager's address; `authority` is PEM."""
    kept = [copy.deepcopy(document) for document in documents if document["kind"] in _INSTALLED]
    bundle = base64.b64encode(authority).decode()
    for document in kept:
        for client in _clients(document):
            service = client.pop("service")
            client["url"] = f"https://{_LOOPBACK}:{ports.webhook}{service['path']}"
            client["caBundle"] = bundle
    return kept


def configuration(documents: Sequence[Json], ports: Ports, certificates: str, changes: Json) -> Json:
    """The shipped configuration with our addresses and with `changes` in its parts.

    `certificates` names the part that makes the manager issue certificates; without a lease there is no waiting for it.
    """
    (shipped,) = [
        yaml.safe_load(document["data"][_CONFIGURATION])
        for document in documents
        if document["kind"] == "ConfigMap" and _CONFIGURATION in document.get("data", {})
    ]
    ours: Json = {
        "leaderElection": {"leaderElect": False},
        "health": {"healthProbeBindAddress": f"{_LOOPBACK}:{ports.health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": _LOOPBACK, "port": ports.webhook},
        certificates: {"enable": False},
    }
    return _changed(_changed(shipped, ours), changes)


def _changed(configuration: Json, changes: Json) -> Json:
    merged = {
        part: {**configuration.get(part, {}), **values} if isinstance(values, dict) else values
        for part, values in changes.items()
    }
    return {**configuration, **merged}


def arguments(documents: Sequence[Json], config: str) -> list[str]:
    """The manager's arguments as its Deployment has them, with another configuration file."""
    (container,) = _pod(documents)["containers"]
    return [f"--config={config}", *(each for each in container["args"] if not each.startswith("--config="))]


def account(documents: Sequence[Json]) -> str:
    """Name of the manager's service account."""
    return str(_pod(documents)["serviceAccountName"])


def _pod(documents: Sequence[Json]) -> Json:
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def _clients(document: Json) -> list[Json]:
    """Every place that says where a webhook is, that of a CRD's conversion included."""
    clients = [webhook["clientConfig"] for webhook in document.get("webhooks", [])]
    conversion = document.get("spec", {}).get("conversion", {})
    return [*clients, conversion["webhook"]["clientConfig"]] if "webhook" in conversion else clients
