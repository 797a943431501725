"""Every metric of the operator: the one place from which they are made and documented."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "vernacular_"


class Kind(StrEnum):
    """Prometheus' types of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One family of series. `buckets` are upper bounds, in the metric's unit."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name under which it is exposed."""
        return PREFIX + self.name


_JOB = ("namespace", "name")
JOBS = Metric("jobs", Kind.GAUGE, "FineTuneJobs that exist, by status.state.", ("state",))
STAGE_SECONDS = Metric(
    "stage_duration_seconds",
    Kind.HISTOGRAM,
    "From the start of a stage's first attempt to its end, by stage and outcome (Succeeded or Failed).",
    ("stage", "outcome"),
    (10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600),
)
FAILURES = Metric("job_failures_total", Kind.COUNTER, "FineTuneJobs that failed for good, by failure code.", ("code",))
RESTARTS = Metric(
    "attempt_restarts_total",
    Kind.COUNTER,
    "Attempts started again, by cause: failure (counts against maxRestarts) or preemption.",
    ("cause",),
)
GPUS = Metric("gpus", Kind.GAUGE, "GPUs that running stages hold.", ("namespace", "stage"))
GPU_SECONDS = Metric(
    "gpu_seconds_total",
    Kind.COUNTER,
    "GPUs x seconds that jobs held, by namespace; counted when their status is written.",
    ("namespace",),
)
GPU_USE = Metric(
    "gpu_use_seconds_total",
    Kind.COUNTER,
    "What became of them: productive, lost (to interruptions) or waiting; the rest is not decided yet.",
    ("namespace", "use"),
)
GPU_COST = Metric(
    "gpu_cost_total",
    Kind.COUNTER,
    "What they cost, by the prices of the runtimes.",
    ("namespace", "currency"),
)
JOB_PROGRESS = Metric("job_progress_ratio", Kind.GAUGE, "Steps done, from 0 to 1, of each running training.", _JOB)
JOB_LOSS = Metric("job_loss", Kind.GAUGE, "Latest loss of each running training.", _JOB)
JOB_EVAL_LOSS = Metric("job_eval_loss", Kind.GAUGE, "Its latest loss on rows that were kept back.", _JOB)
JOB_SPEED = Metric("job_tokens_per_second", Kind.GAUGE, "Its speed over all ranks.", _JOB)
JOB_LEFT = Metric("job_eta_seconds", Kind.GAUGE, "Seconds until it ends, estimated.", _JOB)
JOB_REPORT_AGE = Metric(
    "job_report_age_seconds",
    Kind.GAUGE,
    "Seconds since it last reported progress, or got its nodes after that; none while it waits for them.",
    _JOB,
)
QUEUE_DEPTH = Metric("queue_depth", Kind.GAUGE, "Jobs that wait for a worker.")
QUEUE_AGE = Metric("queue_oldest_seconds", Kind.GAUGE, "How long the oldest of them waits; 0 when none does.")
RECONCILE_SECONDS = Metric(
    "reconcile_duration_seconds",
    Kind.HISTOGRAM,
    "Time for one look at a job, writes included, by result: done, retry (a call failed) or error (a bug).",
    ("result",),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)
API_REQUESTS = Metric(
    "api_requests_total",
    Kind.COUNTER,
    "Requests to the API server without watches, by verb, resource and result (HTTP status, or none).",
    ("verb", "resource", "result"),
)
WATCH_AGE = Metric(
    "watch_last_event_seconds",
    Kind.GAUGE,
    "Seconds since the watch of a resource last told something; grows while nothing happens.",
    ("resource",),
)
POLL_AGE = Metric(
    "mlflow_poll_age_seconds",
    Kind.GAUGE,
    "Seconds since MLflow last answered: it is read for the progress of trainings, and asked when none runs.",
)
POLL_SECONDS = Metric(
    "mlflow_poll_duration_seconds", Kind.GAUGE, "How long MLflow took to answer the last reading of progress."
)
TASKS = Metric("event_loop_tasks", Kind.GAUGE, "Tasks of the event loop; steady growth with few jobs is a leak.")

CATALOGUE = (
    JOBS, STAGE_SECONDS, FAILURES, RESTARTS, GPUS, GPU_SECONDS, GPU_USE, GPU_COST, JOB_PROGRESS, JOB_LOSS,
    JOB_EVAL_LOSS, JOB_SPEED, JOB_LEFT, JOB_REPORT_AGE, QUEUE_DEPTH, QUEUE_AGE, RECONCILE_SECONDS, API_REQUESTS,
    WATCH_AGE, POLL_AGE, POLL_SECONDS, TASKS,
)  # fmt: skip
