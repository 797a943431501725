"""What is to be done about one job: children, one complete status, events, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vernacular.api import FineTuneJobStatus
from vernacular.api.status import UsageStatus


@dataclass(frozen=True)
class Reference:
    """An object to delete. `grace_seconds` 0 removes a pod of a lost node without waiting for its kubelet."""

    kind: str
    name: str
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True)
class Event:
    """A Kubernetes event on the job. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class RunRequest:
    """Open this run unless it exists; `start_ms` in milliseconds since 1970."""

    uid: str
    name: str
    experiment: str
    start_ms: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RunEnd:
    """Close the run truthfully. `status` is FINISHED, FAILED or KILLED; `uid` names the job, "" when it is gone.

    `run_id` is "" when the job ended before its status could name one: then it is the run with the job's uid.
    `usage` is what the job used in all, as far as that is known.
    """

    run_id: str
    status: str
    end_ms: int
    uid: str = ""
    usage: UsageStatus | None = None


@dataclass(frozen=True)
class RunAttempt:
    """Tell the run which attempt of training writes to it."""

    run_id: str
    attempt: int


@dataclass(frozen=True)
class Plan:
    """Executed in this order: deletions and creations, the status if it differs, then events and MLflow.

    `delete_job`: the FineTuneJob itself goes, and everything that it owns.
    """

    status: FineTuneJobStatus
    delete: tuple[Reference, ...] = ()
    create: tuple[Mapping[str, Any], ...] = ()
    events: tuple[Event, ...] = ()
    open_run: RunRequest | None = None
    end_run: RunEnd | None = None
    attempt: RunAttempt | None = None
    delete_job: bool = False
    requeue_seconds: float | None = None
