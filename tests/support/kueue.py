"""A real Kueue beside an API server, and queues for GPUs that nobody has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devcluster.paths import from_environment
from support.apiserver import ApiServer
from support.managers.process import SERVING_CERTIFICATES, ManagerProcess, running
from support.managers.programs import KUEUE

QUEUE_NAME = "kueue.x-k8s.io/queue-name"
PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"
_VERSION = "kueue.x-k8s.io/v1beta2"
_API = f"/apis/{_VERSION}"
_CHANGES: dict[str, Any] = {
    "integrations": {"frameworks": ["batch/job"]},
    # a server of its own, for which the API server would have to be an aggregator
    "featureGates": {"VisibilityOnDemand": False},
}
_PREEMPTION = {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Any"}


@contextmanager
def kueue(server: ApiServer, folder: Path) -> Iterator[ManagerProcess]:
    """Kueue, ready, with a flavour that every node has and two priorities: high and low."""
    certificates = {"webhook": {"certDir": str(folder / SERVING_CERTIFICATES)}}
    with running(from_environment(), server, KUEUE, folder, _CHANGES | certificates) as process:
        _create(server, "ResourceFlavor", f"{_API}/resourceflavors", {"metadata": {"name": "any"}})
        for name, value in (("high", 1000), ("low", 1)):
            priority = {"metadata": {"name": name}, "value": value, "description": name}
            _create(server, "WorkloadPriorityClass", f"{_API}/workloadpriorityclasses", priority)
        yield process


def make_queue(server: ApiServer, namespace: str, name: str, gpus: int, cohort: str = "") -> None:
    """A ClusterQueue with so many GPUs and processors enough for all, and the LocalQueue of the same name."""
    quotas = (("cpu", "64"), ("memory", "256Gi"), ("nvidia.com/gpu", str(gpus)))
    resources = [{"name": resource, "nominalQuota": quota} for resource, quota in quotas]
    spec: dict[str, Any] = {
        "namespaceSelector": {},
        "preemption": _PREEMPTION,
        "resourceGroups": [
            {
                "coveredResources": [resource for resource, _ in quotas],
                "flavors": [{"name": "any", "resources": resources}],
            }
        ],
    }
    if cohort:
        spec["cohortName"] = cohort
    unique = f"{namespace}-{name}"
    _create(server, "ClusterQueue", f"{_API}/clusterqueues", {"metadata": {"name": unique}, "spec": spec})
    queue = {"metadata": {"name": name}, "spec": {"clusterQueue": unique}}
    _create(server, "LocalQueue", f"{_API}/namespaces/{namespace}/localqueues", queue)


def set_stop_policy(server: ApiServer, namespace: str, name: str, policy: str) -> None:
    """None, Hold or HoldAndDrain."""
    path, patch = f"{_API}/clusterqueues/{namespace}-{name}", {"spec": {"stopPolicy": policy}}
    server.request("PATCH", path, patch, "application/merge-patch+json")


def _create(server: ApiServer, kind: str, path: str, document: dict[str, Any]) -> None:
    server.request("POST", path, {"apiVersion": _VERSION, "kind": kind, **document})
