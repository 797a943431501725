"""The plan while it is made: starts as the status that is stored, policies change it, `plan` hands out the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from vernacular.api import (
    Condition,
    ConditionStatus,
    ConditionType,
    FailureCode,
    JobState,
    Reason,
    Stage,
    StageState,
    StageStatus,
)
from vernacular.api.base import ApiModel, timestamp
from vernacular.api.status import FineTuneJobStatus, UsageStatus
from vernacular_operator.domain.plan import Event, Plan, Reference, RunAttempt, RunEnd, RunRequest
from vernacular_operator.domain.snapshot import JobFacts, PodFacts, Snapshot
from vernacular_operator.manifests.runtime import stage_gpus

M = TypeVar("M", bound=ApiModel)

STAGE_STATES = {
    Stage.PREPARE: JobState.PREPARING,
    Stage.TRAIN: JobState.STARTING,
    Stage.EVALUATE: JobState.EVALUATING,
    Stage.PUBLISH: JobState.PUBLISHING,
}
STAGE_CONDITIONS = {
    Stage.PREPARE: ConditionType.PREPARED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.EVALUATE: ConditionType.EVALUATED,
    Stage.PUBLISH: ConditionType.PUBLISHED,
}
_CODES = frozenset(FailureCode)


def evolve(model: M, **changes: Any) -> M:
    """A copy with changes, or the model itself where they change nothing. Unlike `model_copy` it checks and cuts."""
    if all(getattr(model, name) == value for name, value in changes.items()):
        return model
    kept = {name: getattr(model, name) for name in type(model).model_fields}
    return type(model)(**{**kept, **changes})


class Draft:
    """For one snapshot at one moment. `settled` ends the chain of policies."""

    def __init__(self, world: Snapshot, now: datetime) -> None:
        self.world = world
        self.now = now
        self.status = world.job.status
        self.settled = False
        self.open_run: RunRequest | None = None
        self.end_run: RunEnd | None = None
        self.attempt: RunAttempt | None = None
        self.delete_job_itself = False
        self._create: list[Mapping[str, Any]] = []
        self._delete: dict[str, Reference] = {}
        self._events: list[Event] = []
        self._requeue: float | None = None

    @property
    def usage(self) -> UsageStatus:
        """What the job used so far."""
        return self.status.usage or UsageStatus()

    @property
    def run_id(self) -> str:
        """The job's MLflow run, "" while there is none."""
        return self.status.run_id

    def set(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = evolve(self.status, **changes)

    def say(self, state: JobState, reason: str, message: str) -> None:
        """State, reason and message, for people."""
        self.set(state=state, reason=reason, message=message)

    def record(self, stage: Stage) -> StageStatus:
        """What the status says about a stage."""
        return self.status.stage(stage)

    def write(self, stage: Stage, **changes: Any) -> None:
        """Change what the status says about a stage, and its condition with it."""
        record = evolve(self.record(stage), **changes)
        if record.state != StageState.RUNNING and record.running_since:
            record = evolve(record, running_since=None)
        others = {item.name: item for item in self.status.stages} | {stage: record}
        self.set(stages=tuple(others[item] for item in Stage if item in others))
        done = record.state == StageState.SUCCEEDED
        status = ConditionStatus.TRUE if done else ConditionStatus.FALSE
        reason = Reason.STAGE_SUCCEEDED if done else record.reason or Reason.RUNNING
        self.condition(STAGE_CONDITIONS[stage], status, reason, "" if done else record.message or "")

    def gpus(self, stage: Stage) -> int:
        """How many GPUs an attempt of the stage holds."""
        return stage_gpus(self.world.job, stage)

    def condition(self, kind: ConditionType, status: ConditionStatus, reason: str, message: str = "") -> None:
        """Set a condition; its transition time moves only when its status changes."""
        conditions = {item.type: item for item in self.status.conditions}
        old = conditions.get(kind)
        moved = old.last_transition_time if old and old.status == status else timestamp(self.now)
        conditions[kind] = Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            observed_generation=self.world.job.metadata.generation,
            last_transition_time=moved,
        )
        self.set(conditions=tuple(conditions[item] for item in ConditionType if item in conditions))

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Have a child created unless it exists."""
        self._create.append(manifest)

    def delete_job(self, job: JobFacts) -> None:
        """Have a Job deleted, its pods with it; they get SIGTERM and their grace period."""
        if not job.deleting:
            self._delete[job.uid] = Reference("Job", job.name, job.uid)

    def stop_pod(self, pod: PodFacts) -> None:
        """Have a pod deleted; it gets SIGTERM and its grace period."""
        self._delete[pod.uid] = Reference("Pod", pod.name, pod.uid)

    def remove_pod(self, pod: PodFacts) -> None:
        """Have a pod removed at once, though its node does not answer."""
        self._delete[pod.uid] = Reference("Pod", pod.name, pod.uid, grace_seconds=0)

    def event(self, kind: str, reason: str, message: str) -> None:
        """Have an event told once the status is written."""
        self._events.append(Event(kind, reason, message))

    def requeue(self, seconds: float) -> None:
        """Look again after so many seconds at the latest."""
        wanted = max(0.1, seconds)
        self._requeue = wanted if self._requeue is None else min(self._requeue, wanted)

    def plan(self) -> Plan:
        """The finished plan."""
        self.set(observed_generation=self.world.job.metadata.generation)
        end = self.end_run and replace(self.end_run, usage=self.status.usage)
        return Plan(
            status=self.status,
            delete=tuple(self._delete.values()),
            create=tuple(self._create),
            events=(*self._events, *self._transitions(tuple(event.reason for event in self._events))),
            open_run=self.open_run,
            end_run=end,
            attempt=self.attempt,
            delete_job=self.delete_job_itself,
            requeue_seconds=self._requeue,
        )

    def _transitions(self, told: tuple[str, ...]) -> Iterator[Event]:
        """What became true since the stored status was written, told once each."""
        old, new = self.world.job.status, self.status
        yield from _stage_events(old, new)
        if (old.state, old.reason) == (new.state, new.reason) or new.state is None or new.reason in told:
            return
        if new.reason in _CODES:
            yield Event("Warning", str(new.reason), new.message or "")
        elif new.state != old.state and new.state in (JobState.SUSPENDED, JobState.SUCCEEDED):
            yield Event("Normal", str(new.state), new.message or "")


def _stage_events(old: FineTuneJobStatus, new: FineTuneJobStatus) -> Iterator[Event]:
    """One event for one moment: a stage's success tells of the next stage too, the job's own tells of the last one."""
    changed = [(item, old.stage(item.name)) for item in new.stages]
    started = [item for item, was in changed if item.state == StageState.RUNNING and item.attempt != was.attempt]
    succeeded = [item for item, was in changed if item.state == StageState.SUCCEEDED and item.state != was.state]
    if not succeeded:
        for item in started:
            yield Event("Normal", f"{item.name}Started", f"Attempt {item.attempt} started as Job {item.job_name}.")
    elif new.state != JobState.SUCCEEDED:
        follows = [f"{item.name} started as Job {item.job_name}." for item in started]
        for item in succeeded:
            yield Event("Normal", f"{item.name}Succeeded", " ".join((f"Attempt {item.attempt} succeeded.", *follows)))
