"""The pods of a job: which one is meant, and whether it has begun to speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError
from vernacular.cli.screens.values import pick

Json = Mapping[str, Any]

_INDEX = "batch.kubernetes.io/job-completion-index"
_GROUP = "vernacular.dev"
# others may be put beside it, by a service mesh for example
CONTAINER = "stage"


@dataclass(frozen=True)
class Place:
    """One pod of one attempt of one stage."""

    stage: str
    attempt: int
    rank: int

    def __str__(self) -> str:
        rank = f", rank {self.rank}" if self.stage == "train" else ""
        return f"{self.stage}, attempt {self.attempt}{rank}"


def where(job: Json, stage: str | None, attempt: int | None, rank: int, commands: Commands) -> Place:
    """What is meant when parts are left open. Raises CliError for what was not begun."""
    begun = {item["name"].lower(): item["attempt"] for item in pick(job, "status.stages") or () if item.get("attempt")}
    name = job["metadata"]["name"]
    if not begun:
        raise CliError(f"no stage of {name} has begun yet", f"{commands.own('explain', name)} says why")
    chosen = stage or list(begun)[-1]
    if chosen not in begun:
        raise CliError(f"stage {chosen} of {name} has not begun", f"begun are: {', '.join(begun)}")
    if attempt is not None and not 1 <= attempt <= begun[chosen]:
        raise CliError(f"stage {chosen} of {name} has no attempt {attempt}", f"its newest attempt is {begun[chosen]}")
    pods = pick(job, "spec.compute.pods") or 1
    if not 0 <= rank < (pods if chosen == "train" else 1):
        advice = (
            f"train has {pods} pods, from 0 on; the other stages have one" if pods > 1 else "every stage has one pod"
        )
        raise CliError(f"stage {chosen} of {name} has no rank {rank}", advice)
    return Place(chosen, attempt or begun[chosen], rank)


def selector(job: Json, place: Place) -> str:
    """The label selector of this pod."""
    labels = {
        f"{_GROUP}/job-uid": job["metadata"]["uid"],
        f"{_GROUP}/stage": place.stage,
        f"{_GROUP}/attempt": str(place.attempt),
    }
    if place.stage == "train":
        labels[_INDEX] = str(place.rank)
    return ",".join(f"{name}={value}" for name, value in labels.items())


def ready_to_speak(pod: Json) -> str:
    """Why a pod has no log yet; "" when it has one."""
    found = pick(pod, "status.containerStatuses") or ()
    states = [item.get("state") or {} for item in found if item.get("name") == CONTAINER]
    if any("running" in state or "terminated" in state for state in states):
        return ""
    reasons = (state["waiting"].get("reason") for state in states if "waiting" in state)
    return next(reasons, None) or "it has no node yet"
