"""What an account asked of the API server, and what was refused, from the server's audit log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from support.apiserver import ApiServer
from vernacular_operator.kube.rights import Right


@dataclass(frozen=True)
class Access:
    """A verb on a resource ("jobs", or "finetunejobs/status")."""

    group: str
    resource: str
    verb: str


@dataclass(frozen=True)
class Audit:
    """All requests of some accounts for objects; `refused` are those without a right, with the server's reason."""

    used: frozenset[Access]
    refused: tuple[str, ...]


def audit_of(server: ApiServer, account: str, namespace: str = "") -> Audit:
    """What service accounts of this name did so far; "" for the namespace: those of all namespaces."""
    used: set[Access] = set()
    refused: list[str] = []
    for line in _lines(server):
        if account not in line:
            continue
        event = json.loads(line)
        if not re.fullmatch(
            f"system:serviceaccount:{namespace or '[^:]+'}:{account}", event["user"].get("username", "")
        ):
            continue
        target = event.get("objectRef")
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            refused.append(f"{event['verb']} {event['requestURI']}: {event['responseStatus'].get('message', '')}")
        elif target:
            resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
            used.add(Access(target.get("apiGroup", ""), resource, event["verb"]))
    return Audit(frozenset(used), tuple(refused))


def granted(*rights: Right) -> frozenset[Access]:
    """Every verb of a table of rights."""
    return frozenset(Access(right.group, right.resource, verb) for right in rights for verb in right.verbs)


def _lines(server: ApiServer) -> list[str]:
    files = sorted(server.kubeconfig.parent.glob("audit*.log"))
    assert files, "the API server writes no audit log"
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
