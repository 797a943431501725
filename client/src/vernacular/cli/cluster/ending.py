"""Waiting until nothing of deleted jobs writes any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vernacular.cli.cluster.jobs import Jobs, refusals, unless_missing
from vernacular.cli.screens.values import pick

Json = dict[str, Any]

UID_LABEL = "vernacular.dev/job-uid"
_PAUSE_SECONDS = 1.0
# over the grace period of the pods: for the operator and the kubelet to notice, and for the server to clean up
_MARGIN_SECONDS = 120.0
_ENDED = ("Succeeded", "Failed")


def living_pods(jobs: Jobs, uids: Iterable[str]) -> list[Json]:
    """The pods of these jobs that have not ended. Raises CliError when they may not be listed."""
    path = f"/api/v1/namespaces/{jobs.namespace}/pods"
    with refusals(jobs.namespace):
        found = [
            pod for uid in uids for pod in jobs.client.get(path, labelSelector=f"{UID_LABEL}={uid}").get("items") or ()
        ]
    return [pod for pod in found if pick(pod, "status.phase") not in _ENDED]


def still_there(jobs: Jobs, name: str, uids: Iterable[str]) -> list[Json]:
    """What may still write: the resource itself while its operator has not let it go, and the pods."""
    job = unless_missing(lambda: jobs.one(name))
    return [*([job] if job and job["metadata"]["uid"] in uids else []), *living_pods(jobs, uids)]


def await_end(
    look: Callable[[], list[Json]],
    now: Callable[[], float],
    pause: Callable[[float], None],
    tell: Callable[[str], None],
) -> list[str]:
    """Wait until `look` finds nothing; what it finds when the pods' grace period has long passed, by kind and name.

    `now` in seconds, `tell` says once that there is something to wait for.
    """
    begun = now()
    left = look()
    graces = [pick(item, "spec.terminationGracePeriodSeconds") or 0 for item in left]
    limit = max(graces, default=0) + _MARGIN_SECONDS
    if left:
        tell(f"Waiting up to {limit:.0f} s for {', '.join(map(_name, left))} to end.")
    while left and now() - begun < limit:
        pause(_PAUSE_SECONDS)
        left = look()
    return [_name(item) for item in left]


def _name(item: Json) -> str:
    # a list names no kinds
    return f"{item.get('kind') or 'Pod'} {item['metadata']['name']}"
