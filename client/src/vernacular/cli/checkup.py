"""Whether a cluster is ready for jobs, from what was seen of it. What may not be seen is unknown, not wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from vernacular.cli.screens.values import counted, pick, seconds_between

Json = Mapping[str, Any]

# what the verbs of this command line do with jobs
RIGHTS = ("create", "get", "list", "watch", "patch", "delete")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# an operator that runs looks at a new job within seconds
_UNSEEN_SECONDS = 60
_GPUS = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/", "habana.ai/")
_MAY_NOT = "you may not see {}: ask who runs the cluster"
_INSTALL = "helm upgrade --install vernacular charts/vernacular -n vernacular (see the README)"


class Health(StrEnum):
    """How one thing is."""

    GOOD = "Good"
    BAD = "Bad"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Finding:
    """One thing with its health; `advice` is what mends it, or why it is not known."""

    health: Health
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Seen:
    """What was seen of a cluster. None: it may not be seen, or is not known.

    `fields` are the fields of a spec that the cluster's CRD has, `allowed` the verbs that the person may use on jobs.
    """

    namespace: str
    version: str
    served: bool
    fields: frozenset[str] | None = None
    allowed: frozenset[str] = frozenset()
    operators: Sequence[Json] | None = None
    jobs: Sequence[Json] = ()
    nodes: Sequence[Json] | None = None
    classes: Sequence[Json] | None = None
    mlflow: str = ""
    mlflow_trouble: str = ""


def findings(seen: Seen, known: frozenset[str], now: datetime) -> list[Finding]:
    """Everything in the order in which it would be mended; `known` are the fields that this command line knows."""
    found = [Finding(Health.GOOD, f"the cluster answers: Kubernetes {seen.version}")]
    if not seen.served:
        return [*found, Finding(Health.BAD, "the cluster does not know FineTuneJobs", _INSTALL)]
    return [
        *found,
        _fields(seen.fields, known),
        _rights(seen),
        _operator(seen, now),
        _devices(seen),
        _classes(seen.classes),
        _mlflow(seen),
    ]


def field_names(schema: Json, prefix: str = "") -> Iterator[str]:
    """Every field below a schema, like training.epochs."""
    inner = schema.get("items", schema)
    for name, child in inner.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from field_names(child, f"{prefix}{name}.")


def _fields(fields: frozenset[str] | None, known: frozenset[str]) -> Finding:
    if fields is None:
        return Finding(Health.UNKNOWN, "fields of the CRD", _MAY_NOT.format("the API's description"))
    if missing := known - fields:
        some = ", ".join(sorted(missing)[:3])
        what = f"the cluster's FineTuneJob is older than this command line: it lacks {some}"
        return Finding(Health.BAD, what, f"upgrade the operator with its CRD: {_INSTALL}")
    if newer := fields - known:
        some = ", ".join(sorted(newer)[:3])
        what = f"the cluster's FineTuneJob is newer than this command line: it has {some}"
        return Finding(Health.BAD, what, "upgrade the command line: its validate does not know these fields")
    return Finding(Health.GOOD, "the cluster's FineTuneJob has the fields that this command line knows")


def _rights(seen: Seen) -> Finding:
    if missing := [verb for verb in RIGHTS if verb not in seen.allowed]:
        what = f"you may not {', '.join(missing)} FineTuneJobs in namespace {seen.namespace}"
        return Finding(Health.BAD, what, "ask who runs the cluster, or choose another namespace with --namespace")
    return Finding(Health.GOOD, f"you may use FineTuneJobs in namespace {seen.namespace}")


def _operator(seen: Seen, now: datetime) -> Finding:
    unseen = [
        job["metadata"]["name"]
        for job in seen.jobs
        if not pick(job, "status.state")
        and (seconds_between(pick(job, "metadata.creationTimestamp"), None, now) or 0) > _UNSEEN_SECONDS
    ]
    if unseen:
        return Finding(
            Health.BAD,
            f"no operator looks at namespace {seen.namespace}: nobody has seen {', '.join(unseen[:3])}",
            "check that the operator runs, and that the chart's watchNamespaces has this namespace or is empty",
        )
    if seen.operators is None:
        return Finding(Health.UNKNOWN, "the operator", _MAY_NOT.format("pods of all namespaces"))
    ready = [pod for pod in seen.operators if _is_true(pod, "Ready")]
    if not ready:
        what = "no operator is ready" if seen.operators else "there is no operator"
        advice = "kubectl describe pods -A -l app.kubernetes.io/component=operator" if seen.operators else _INSTALL
        return Finding(Health.BAD, what, advice)
    place = pick(ready[0], "metadata.namespace")
    return Finding(Health.GOOD, f"the operator runs in namespace {place}")


def _devices(seen: Seen) -> Finding:
    if seen.nodes is None:
        return Finding(Health.UNKNOWN, "GPUs", _MAY_NOT.format("nodes"))
    wanted = {pick(job, "spec.compute.gpuResource") for job in seen.jobs}
    ready = [node for node in seen.nodes if _is_true(node, "Ready")]
    devices: Counter[str] = Counter()
    for node in ready:
        for name, amount in (pick(node, "status.allocatable") or {}).items():
            if (name.startswith(_GPUS) or name in wanted) and str(amount).isdigit() and int(amount):
                devices[name] += int(amount)
    if not devices:
        advice = "install the device plugin of the GPUs' maker, or train on the CPU with spec.compute.gpusPerPod: 0;"
        advice += " nodes that an autoscaler adds when they are needed are not seen here"
        return Finding(Health.BAD, f"no GPUs on {counted(len(ready), 'ready node')}", advice)
    total = ", ".join(f"{amount} {name}" for name, amount in sorted(devices.items()))
    return Finding(Health.GOOD, f"{total} on {counted(len(ready), 'ready node')}")


def _classes(classes: Sequence[Json] | None) -> Finding:
    if classes is None:
        return Finding(Health.UNKNOWN, "storage classes", _MAY_NOT.format("storage classes"))
    names = [item["metadata"]["name"] for item in classes]
    if not names:
        advice = "install a storage provisioner, or name a claim in spec.storage.workspace.claimName"
        return Finding(Health.BAD, "there is no storage class", advice)
    default = [item for item in classes if (pick(item, "metadata.annotations") or {}).get(_DEFAULT_CLASS) == "true"]
    if default:
        return Finding(
            Health.GOOD, f"storage classes: {', '.join(names)}; the default is {default[0]['metadata']['name']}"
        )
    advice = f"write spec.storage.workspace.storageClassName, one of {', '.join(names)}, or have one made the default"
    return Finding(Health.BAD, "no storage class is the default", advice)


def _mlflow(seen: Seen) -> Finding:
    if not seen.mlflow:
        advice = "name its address with --mlflow or $MLFLOW_TRACKING_URI to have it checked"
        return Finding(Health.UNKNOWN, "MLflow: nothing says where it is", advice)
    if seen.mlflow_trouble:
        advice = "check its address; only promote and models need it from this machine, jobs need it in the cluster"
        return Finding(Health.BAD, seen.mlflow_trouble, advice)
    return Finding(Health.GOOD, f"MLflow answers at {seen.mlflow}")


def _is_true(item: Json, kind: str) -> bool:
    conditions = pick(item, "status.conditions") or ()
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)
