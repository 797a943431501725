"""Which runs of a shared MLflow are of this cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.jobs import Jobs
from vernacular.cli.errors import CliError
from vernacular.cli.runs import Run
from vernacular.cli.screens.values import pick

_SYSTEM = "/api/v1/namespaces/kube-system"


@dataclass(frozen=True)
class Identity:
    """Under which names operators tag the runs of this cluster. `complete`: it is called nothing else."""

    names: frozenset[str]
    complete: bool


def identity_of(jobs: Jobs) -> Identity:
    """What the person may know of it: an operator of all namespaces tags by the first, one of a few by the second."""
    uid = pick(_read(jobs, _SYSTEM), "metadata.uid")
    root = _read(jobs, f"/api/v1/namespaces/{jobs.namespace}/configmaps/kube-root-ca.crt")
    authority = (root.get("data") or {}).get("ca.crt")
    digest = f"ca-{hashlib.sha256(authority.encode()).hexdigest()[:32]}" if authority else None
    return Identity(frozenset(filter(None, (uid, digest))), complete=bool(uid and digest))


def of_this_cluster(found: Sequence[Run], identity: Identity, advice: str, *, certain: bool = False) -> list[Run]:
    """The runs of this cluster among those of a namespace and a name. Raises CliError when that cannot be told.

    `certain`: runs whose cluster is named, and not known to be this one, are not taken for its own.
    """
    clusters = {run.cluster for run in found}
    own = [run for run in found if run.cluster in identity.names]
    if own or not any(clusters):
        return own or list(found)
    shown = "; ".join(run.described for run in found)
    if certain or identity.complete:
        raise CliError(f"no run of this name is known to be of this cluster: {shown}", advice)
    if len(clusters) > 1:
        raise CliError(f"runs of this name are of several clusters: {shown}", advice)
    return list(found)


def _read(jobs: Jobs, path: str) -> dict[str, Any]:
    try:
        return jobs.client.get(path)
    except ApiError:
        return {}
