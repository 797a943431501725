"""What verbs that change a job have to know of it first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from vernacular.cli.cluster.jobs import Jobs
from vernacular.cli.errors import CliError
from vernacular.cli.screens.values import pick
from vernacular.cli.screens.watch import ended

Json = dict[str, Any]

# vernacular.api.constants says the same, but takes long to import
MAX_NAME_LENGTH = 40
_NUMBERED = re.compile(r"(.+?)-(\d+)")
_OF_THE_CLUSTER = ("kubectl.kubernetes.io/last-applied-configuration",)


def running(jobs: Jobs, name: str, prog: str) -> Json:
    """A job that has not ended. Raises CliError when it has."""
    job = jobs.one(name)
    if ended(job):
        state = pick(job, "status.state")
        raise CliError(f"{name} has ended already: {state}", f"make it anew with {prog} retry {name}")
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
    metadata: Json = {key: job["metadata"][key] for key in ("name", "namespace") if key in job["metadata"]}
    for key in ("labels", "annotations"):
        kept = {each: value for each, value in (job["metadata"].get(key) or {}).items() if each not in _OF_THE_CLUSTER}
        if kept:
            metadata[key] = kept
    return {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": metadata, "spec": job["spec"]}


def copy_of(job: Mapping[str, Any], name: str) -> Json:
    """A job to create, with the spec, labels and annotations of another one; it is not suspended."""
    made = to_create(job)
    spec = dict(made["spec"])
    if policy := {key: value for key, value in (spec.pop("runPolicy", None) or {}).items() if key != "suspend"}:
        spec["runPolicy"] = _without_the_end(policy)
    return {**made, "metadata": {**made["metadata"], "name": name}, "spec": spec}


def _without_the_end(policy: Json) -> Json:
    """Without the deadline of 0 that `cancel` has set: the new job would end at once."""
    return {key: value for key, value in policy.items() if (key, value) != ("activeDeadlineSeconds", 0)}
