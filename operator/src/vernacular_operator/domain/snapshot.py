"""What the operator knows about one job at one moment: frozen facts, nothing else goes into a decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from vernacular.api import FineTuneJob, FineTuneRuntime, Stage
from vernacular_operator.config import OperatorConfig
from vernacular_trainer.contract import PhaseReport


@dataclass(frozen=True)
class Terminated:
    """How the stage's container ended; `message` is its termination message."""

    exit_code: int
    reason: str
    message: str
    finished_at: datetime


@dataclass(frozen=True)
class PodFacts:
    """A pod of an attempt. `gone`: deleted from the API server, known from the watch only. `orphaned`: its Job was
    deleted without it.

    `deletion_time` is when its grace period ends, `marked_at` when the deletion was asked for. `unschedulable` says why
    no node takes it, `disruption` why the cluster took it away, `status_reason` why its node ended or refused it.
    """

    name: str
    uid: str
    stage: Stage
    attempt: int
    index: int = 0
    phase: str = "Pending"
    node: str = ""
    gone: bool = False
    orphaned: bool = False
    deletion_time: datetime | None = None
    marked_at: datetime | None = None
    running: bool = False
    terminated: Terminated | None = None
    image: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    unschedulable_since: datetime | None = None
    disruption: str = ""
    disruption_message: str = ""
    status_reason: str = ""
    status_message: str = ""
    scheduled_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether its containers may still run."""
        return not self.gone and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True)
class JobFacts:
    """The Job of one attempt. `suspended`: somebody holds it back, since `suspended_at`; the operator itself only
    creates it so for its `queue`.
    """

    name: str
    uid: str
    stage: Stage
    attempt: int
    deleting: bool = False
    suspended: bool = False
    suspended_at: datetime | None = None
    queue: str = ""
    complete: bool = False
    failed: bool = False
    failing: bool = False
    message: str = ""
    finished_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it may still have or make running pods."""
        return not (self.complete or self.failed)


@dataclass(frozen=True)
class WorkloadFacts:
    """What Kueue says of a Job. `message`: what admission waits for; `evicted`: why its last admission ended ("": it
    did not), with Kueue's words.
    """

    job_uid: str
    namespace: str
    queue: str
    priority: int
    created: str
    waiting: bool
    message: str = ""
    evicted: str = ""
    evicted_message: str = ""

    @property
    def order(self) -> tuple[int, str, str]:
        """The first of a queue's Workloads is the next."""
        return -self.priority, self.created, self.job_uid


@dataclass(frozen=True)
class Admission:
    """What Kueue says of the Job that a queue holds back, and how many of the same LocalQueue come before it."""

    workload: WorkloadFacts
    ahead: int


@dataclass(frozen=True)
class RunOpened:
    """The job's MLflow run exists."""

    experiment_id: str
    run_id: str


@dataclass(frozen=True)
class RunClosed:
    """The job has ended and its MLflow run was closed, or cannot be: it was deleted, or rights are missing."""


@dataclass(frozen=True)
class TrackingProblem:
    """The job's MLflow run could not be opened; `denied` when rights are missing, otherwise it is tried again."""

    message: str
    denied: bool = False


@dataclass(frozen=True)
class ProgressFacts:
    """The last values that training reported to MLflow. Losses are decimal strings, "" when not reported.

    `checkpoint_step`: step of the newest complete checkpoint, 0 when there is none yet; `checkpoint_seconds`: how long
    the training that it holds took.
    """

    step: int
    total_steps: int
    loss: str
    eval_loss: str
    tokens_per_second: int | None
    eta_seconds: int | None
    reported_at: datetime
    checkpoint_step: int = 0
    checkpoint_seconds: int = 0


@dataclass(frozen=True)
class ClaimFacts:
    """The workspace claim that the user named."""

    exists: bool
    access_modes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuntimeChoice:
    """The FineTuneRuntime that the job asks for, or the default one. `runtime` is None when there is none.

    `readable` is False when this operator may not read runtimes, because it is installed for single namespaces.
    """

    runtime: FineTuneRuntime | None = None
    readable: bool = True


@dataclass(frozen=True)
class Blocked:
    """Children could not be created: `code` is a failure code, the message names the object."""

    code: str
    message: str


@dataclass(frozen=True)
class Snapshot:
    """One job and everything that belongs to it. `claim` and `runtime` are only read until the job is accepted.

    `volume_trouble` is why a claim that a pod waits for has no volume, as far as an event says; `admission` is known
    while a queue holds a Job back, where Kueue's Workloads are watched.
    """

    job: FineTuneJob
    config: OperatorConfig
    cluster: str = ""
    jobs: tuple[JobFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    claim: ClaimFacts | None = None
    runtime: RuntimeChoice = RuntimeChoice()
    run: RunOpened | RunClosed | TrackingProblem | None = None
    progress: ProgressFacts | None = None
    phase: PhaseReport | None = None
    volume_trouble: str = ""
    admission: Admission | None = None
    blocked: Blocked | None = None

    def job_of(self, stage: Stage, attempt: int) -> JobFacts | None:
        """The Job of an attempt, if it exists."""
        return next((job for job in self.jobs if job.stage == stage and job.attempt == attempt), None)

    def pods_of(self, stage: Stage, attempt: int) -> tuple[PodFacts, ...]:
        """The pods of an attempt, also those that are gone, ordered by index."""
        found = (pod for pod in self.pods if pod.stage == stage and pod.attempt == attempt)
        return tuple(sorted(found, key=lambda pod: (pod.index, pod.name)))

    def queued(self, stage: Stage, attempt: int) -> JobFacts | None:
        """The Job of an attempt that a queue holds back, once none of its pods may run."""
        job = self.job_of(stage, attempt)
        if job is None or not job.suspended or any(pod.live for pod in self.pods_of(stage, attempt)):
            return None
        return job

    def latest_attempt(self, stage: Stage) -> int:
        """The highest attempt that has a Job or left a pod; 0: none."""
        jobs = (job.attempt for job in self.jobs if job.stage == stage)
        return max((*jobs, *(pod.attempt for pod in self.pods if pod.stage == stage)), default=0)

    def leftovers(self) -> tuple[str, ...]:
        """Names of Jobs and pods that may still run; nothing new starts beside them."""
        return (*(job.name for job in self.jobs if job.live), *(pod.name for pod in self.live_pods()))

    def live_pods(self) -> Iterator[PodFacts]:
        """Pods whose containers may still run."""
        return (pod for pod in self.pods if pod.live)
