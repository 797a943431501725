"""What verbs that change a job have to know of it first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from vernacular.cli.cluster.jobs import Jobs
from vernacular.cli.errors import CliError
from vernacular.cli.objectmeta import OF_THE_SERVER
from vernacular.cli.screens.values import pick
from vernacular.cli.screens.watch import ended

Json = dict[str, Any]

# vernacular.api.constants says the same, but takes long to import
MAX_NAME_LENGTH = 40
_NUMBERED = re.compile(r"(.+?)-(\d+)")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Argo CD removes what has these and is not in its application
_TRACKING = frozenset(
    {_LAST_APPLIED, "argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "app.kubernetes.io/instance"}
)


def running(jobs: Jobs, name: str) -> Json:
    """A job that has not ended. Raises CliError when it has."""
    job = jobs.one(name)
    if ended(job):
        state = pick(job, "status.state")
        raise CliError(f"{name} has ended already: {state}", f"make it anew with {jobs.commands.own('retry', name)}")
    return job


def lost_with(job: Mapping[str, Any]) -> str:
    """What goes with a job when it is deleted, in a sentence."""
    workspace = pick(job, "spec.storage.workspace") or {}
    if claim := workspace.get("claimName"):
        return f"Its files on the claim {claim} stay."
    if workspace.get("deletionPolicy") == "Retain":
        return "Its workspace stays."
    return "Its workspace goes with it, and the checkpoints there."


def next_name(name: str, taken: Collection[str]) -> str:
    """The name with the next free number: hr-bot, hr-bot-2, hr-bot-3."""
    found = _NUMBERED.fullmatch(name)
    stem, number = (found.group(1), int(found.group(2))) if found else (name, 1)
    while True:
        number += 1
        end = f"-{number}"
        made = stem[: MAX_NAME_LENGTH - len(end)].rstrip("-") + end
        if made not in taken:
            return made


def to_create(job: Mapping[str, Any]) -> Json:
    """A job as its author wrote it: without what a cluster adds to one that it has."""
    metadata = {key: value for key, value in job["metadata"].items() if key not in OF_THE_SERVER}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": metadata, "spec": job["spec"]}


def copy_of(job: Mapping[str, Any], name: str) -> Json:
    """A job to create, with the spec, labels and annotations of another one; it is not suspended."""
    spec = dict(job["spec"])
    if policy := {key: value for key, value in (spec.pop("runPolicy", None) or {}).items() if key != "suspend"}:
        spec["runPolicy"] = _without_the_end(policy)
    metadata: Json = {"name": name, "namespace": job["metadata"]["namespace"]}
    for part in ("labels", "annotations"):
        if kept := {key: value for key, value in (job["metadata"].get(part) or {}).items() if key not in _TRACKING}:
            metadata[part] = kept
    return {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": metadata, "spec": spec}


def _without_the_end(policy: Json) -> Json:
    """Without the deadline of 0 that `cancel` has set: the new job would end at once."""
    return {key: value for key, value in policy.items() if (key, value) != ("activeDeadlineSeconds", 0)}
