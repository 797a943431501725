"""The rules that hold whatever happens to the operator, judged from the history alone.

A claim about the past (a stage succeeded, a Job was made) must be true in the version in which it was stored. A claim
about the present (training runs) must have been true at most STALE_SECONDS before: a watch always lags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from support.fake_mlflow import FakeRun
from support.history import Change
from support.job_life import ATTEMPT, STAGE, UID, Life

STALE_SECONDS = 15.0
STAGES = ("Prepare", "Train", "Evaluate", "Publish")
CONDITION_OF = {"Prepare": "Prepared", "Train": "Trained", "Evaluate": "Evaluated", "Publish": "Published"}
Json = dict[str, Any]


class Invariants:
    """Takes changes in order. `violations` tells what was broken, with the trace of the job."""

    def __init__(self, runs_of: Callable[[str], Sequence[FakeRun]], stale_seconds: float = STALE_SECONDS) -> None:
        self.lives: dict[str, Life] = {}
        self.violations: list[str] = []
        self._names: dict[str, list[Life]] = {}
        self._runs_of = runs_of
        self._stale_seconds = stale_seconds

    def take(self, changes: Sequence[Change]) -> None:
        """Judge changes in the order of their versions."""
        for change in changes:
            metadata = change.object["metadata"]
            labels = metadata.get("labels") or {}
            if change.kind == "FineTuneJob":
                self._judge_document(change, self.lives.setdefault(metadata["uid"], Life(metadata["uid"])))
            elif UID in labels and STAGE in labels and ATTEMPT in labels:
                self._judge_child(change, self.lives.setdefault(labels[UID], Life(labels[UID])))

    def named(self, name: str) -> list[Life]:
        """Jobs that ever had this name, oldest first."""
        return list(self._names.get(name, ()))

    def check(self) -> None:
        """Raises AssertionError with the first violations."""
        assert not self.violations, "\n\n".join(self.violations[:3])

    def _judge_child(self, change: Change, life: Life) -> None:
        new = change.object["metadata"]["uid"] not in life.children
        ended = life.terminal
        child = life.take_child(change)
        if new and child.kind == "Job":
            twins = [item for item in life.jobs(child.stage) if item.attempt == child.attempt]
            # what is made for a job that was deleted meanwhile is removed with it, as often as it is made; and nobody
            # can know of one that was deleted before the operator, which ended just then, had told of it
            unknown = not life.told(child) and all(item.gone for item in twins if item is not child)
            unique = len(twins) == 1 or life.deleted or unknown
            self._expect(unique, life, f"{child.name} was made {len(twins)} times")
            self._expect(not ended, life, f"{child.name} was made after the job had ended")
        attempts = {(item.stage, item.attempt) for item in life.live()}
        self._expect(len(attempts) <= 1, life, f"attempts at once: {sorted(attempts)}")

    def _judge_document(self, change: Change, life: Life) -> None:
        terminal = life.terminal
        if not life.document:
            self._names.setdefault(change.object["metadata"]["name"], []).append(life)
        before = life.take_document(change)
        if change.deleted or life.status == before:
            return
        for text in (
            *_flips(terminal, before, life.status),
            *_usage(before, life),
            *_stages(life),
            *_state(life, change.seen - self._stale_seconds),
            *_conditions(before, life),
            *self._tracking(life),
        ):
            self._expect(False, life, text)

    def _tracking(self, life: Life) -> Iterator[str]:
        runs = {run.run_id for run in self._runs_of(life.uid)}
        run_id = life.status.get("mlflow", {}).get("runID")
        if run_id and run_id not in runs:
            yield f"status names run {run_id}, its runs are {sorted(runs)}"

    def _expect(self, holds: bool, life: Life, text: str) -> None:
        if not holds:
            trace = "\n  ".join(life.trace)
            self.violations.append(f"{life.name} ({life.uid}): {text}\n  {trace}")


def _flips(terminal: bool, before: Json, after: Json) -> Iterator[str]:
    # that a change of the spec was seen may be told after the end
    names = {*before, *after} - {"observedGeneration"}
    changed = [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
    if terminal and changed:
        yield f"a terminal status changed: {changed}"


def _usage(before: Json, life: Life) -> Iterator[str]:
    old, new = before.get("usage") or {}, life.status.get("usage") or {}
    for name, value in old.items():
        # the share and what is expected in all go both ways
        if isinstance(value, int) and name != "goodputPercent" and new.get(name, 0) < value:
            yield f"usage.{name} fell from {value} to {new.get(name)}"
    uses = [new.get(f"{use}GpuSeconds", 0) for use in ("productive", "lost", "waiting")]
    if sum(uses) > new.get("gpuSeconds", 0):
        yield f"of {new.get('gpuSeconds', 0)} GPU seconds, {uses} are productive, lost and waited"
    allowed = life.document["spec"].get("runPolicy", {}).get("maxRestarts", 3)
    if new.get("restarts", 0) > allowed:
        yield f"{new['restarts']} restarts, {allowed} allowed"
    steps = [status.get("checkpoints", {}).get("latestStep", 0) for status in (before, life.status)]
    if steps[1] < steps[0]:
        yield f"the latest checkpoint fell from step {steps[0]} to {steps[1]}"


def _stages(life: Life) -> Iterator[str]:
    for record in life.status.get("stages") or ():
        jobs = [job for job in life.jobs(record["name"]) if job.attempt == record.get("attempt")]
        if record["state"] == "Succeeded" and not any(job.complete for job in jobs):
            yield f"{record['name']} is called Succeeded, Jobs of attempt {record.get('attempt')}: {jobs}"
        if record["state"] == "Running" and record.get("jobName") and not jobs:
            yield f"{record['name']} is called Running, no Job of attempt {record.get('attempt')} was made"


def _state(life: Life, earliest: float) -> Iterator[str]:
    state = life.status.get("state")
    if state == "Succeeded":
        yield from (f"Succeeded without {stage}" for stage in STAGES if not any(j.complete for j in life.jobs(stage)))
    if (state == "Suspended" or life.is_true("Suspended")) and life.live():
        yield f"called suspended while these may run: {life.live()}"
    if state == "Training" and not _ran_since(life, earliest):
        yield "called Training, no training pod ran lately"
    if state == "Failed" and not life.status.get("failure", {}).get("code"):
        yield "Failed without a code"


def _ran_since(life: Life, earliest: float) -> bool:
    pods = [child for child in life.children.values() if child.kind == "Pod" and child.stage == "train"]
    return any(pod.running or (pod.ran_until is not None and pod.ran_until > earliest) for pod in pods)


def _conditions(before: Json, life: Life) -> Iterator[str]:
    if life.is_true("Complete") and life.is_true("Failed"):
        yield "both Complete and Failed"
    if life.is_true("Complete") != (life.status.get("state") == "Succeeded"):
        yield f"Complete does not fit the state {life.status.get('state')}"
    for stage, kind in CONDITION_OF.items():
        if life.is_true(kind) and not any(job.complete for job in life.jobs(stage)):
            yield f"{kind} without a complete Job"
    old = {item["type"]: item for item in before.get("conditions") or ()}
    for item in life.status.get("conditions") or ():
        if item.get("observedGeneration", 0) > life.document["metadata"]["generation"]:
            yield f"{item['type']} speaks of a generation that does not exist"
        earlier = old.get(item["type"])
        if earlier and earlier["status"] == item["status"]:
            moved = earlier["lastTransitionTime"] != item["lastTransitionTime"]
            if moved:
                yield f"{item['type']} moved its transition time without a flip"
