"""The operator's metrics in a registry of its own: counted where things happen, gauges read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from vernacular.api import FineTuneJobStatus, JobState, StageState
from vernacular.api.status import StageStatus, UsageStatus
from vernacular_operator.telemetry import catalogue
from vernacular_operator.telemetry.catalogue import Metric
from vernacular_operator.telemetry.running import Running, Training

CONTENT_TYPE = CONTENT_TYPE_LATEST
Labels = TypeVar("Labels", bound=tuple[str, ...])
_ENDED = frozenset({StageState.SUCCEEDED, StageState.FAILED})


@dataclass(frozen=True)
class OperatorState:
    """What gauges show. Ages and durations in seconds; None: there is none yet."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    queue_depth: int = 0
    queue_age: float = 0.0
    watch_ages: Mapping[str, float] = field(default_factory=dict)
    poll_age: float | None = None
    poll_seconds: float | None = None
    tasks: int = 0
    running: Running = field(default_factory=Running)


class RequestCounter(Protocol):
    """Told of each request to the API server; `result` is the HTTP status, or none."""

    def __call__(self, verb: str, resource: str, result: str) -> None: ...


class Metrics:
    """Made once per operator and handed to whoever has something to count."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._stages = self._histogram(catalogue.STAGE_SECONDS)
        self._failures = self._counter(catalogue.FAILURES)
        self._restarts = self._counter(catalogue.RESTARTS)
        self._gpu_seconds = self._counter(catalogue.GPU_SECONDS)
        self._gpu_use = self._counter(catalogue.GPU_USE)
        self._gpu_cost = self._counter(catalogue.GPU_COST)
        self._reconciles = self._histogram(catalogue.RECONCILE_SECONDS)
        self._requests = self._counter(catalogue.API_REQUESTS)

    def observe_state(self, read: Callable[[], OperatorState]) -> None:
        """Have gauges read from here whenever the metrics are asked for."""
        self._registry.register(_Gauges(read))

    def text(self) -> bytes:
        """All metrics in the OpenMetrics format."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return text

    def api_request(self, verb: str, resource: str, result: str) -> None:
        """A request to the API server was answered, or was not."""
        self._requests.labels(verb, resource, result).inc()

    def reconciled(self, seconds: float, result: str) -> None:
        """A worker looked at a job."""
        self._reconciles.labels(result).observe(seconds)

    def status_written(self, namespace: str, old: FineTuneJobStatus, new: FineTuneJobStatus) -> None:
        """The status of a job of this namespace was stored: count what it says that the one before did not."""
        known = {stage.name: stage for stage in old.stages}
        for stage in new.stages:
            before = known.get(stage.name)
            if stage.state in _ENDED and not (before and before.state in _ENDED):
                self._stage_ended(stage)
        if new.failure and not old.failure:
            self._failures.labels(new.failure.code).inc()
        was, now = old.usage or UsageStatus(), new.usage or UsageStatus()
        # a count of zero makes the series appear with the first status, so that a rate sees the first restart
        self._restarts.labels("failure").inc(max(0, now.restarts - was.restarts))
        self._restarts.labels("preemption").inc(max(0, now.preemptions - was.preemptions))
        if now.gpu_seconds:
            self._gpus_used(namespace, was, now)

    def _gpus_used(self, namespace: str, was: UsageStatus, now: UsageStatus) -> None:
        self._gpu_seconds.labels(namespace).inc(max(0, now.gpu_seconds - was.gpu_seconds))
        for use in ("productive", "lost", "waiting"):
            name = f"{use}_gpu_seconds"
            self._gpu_use.labels(namespace, use).inc(max(0, getattr(now, name) - getattr(was, name)))
        if now.cost and now.currency:
            self._gpu_cost.labels(namespace, now.currency).inc(max(0.0, float(now.cost) - float(was.cost or 0)))

    def _stage_ended(self, stage: StageStatus) -> None:
        if stage.start_time and stage.completion_time:
            taken = datetime.fromisoformat(stage.completion_time) - datetime.fromisoformat(stage.start_time)
            self._stages.labels(stage.name, stage.state).observe(taken.total_seconds())

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.full_name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.full_name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)


class _Gauges:
    """A collector: reads the state once for all gauges."""

    def __init__(self, read: Callable[[], OperatorState]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        state = self._read()
        jobs = {each.value: 0 for each in JobState} | dict(state.jobs)
        yield _family(catalogue.JOBS, {(name,): count for name, count in jobs.items()})
        yield _family(catalogue.WATCH_AGE, {(resource,): age for resource, age in state.watch_ages.items()})
        yield _family(catalogue.GPUS, state.running.gpus)
        for metric, read in _OF_TRAININGS:
            found = {(item.namespace, item.name): read(item) for item in state.running.trainings}
            yield _family(metric, {labels: value for labels, value in found.items() if value is not None})
        for metric, value in (
            (catalogue.QUEUE_DEPTH, float(state.queue_depth)),
            (catalogue.QUEUE_AGE, state.queue_age),
            (catalogue.POLL_AGE, state.poll_age),
            (catalogue.POLL_SECONDS, state.poll_seconds),
            (catalogue.TASKS, float(state.tasks)),
        ):
            if value is not None:
                yield GaugeMetricFamily(metric.full_name, metric.help, value=value)


_OF_TRAININGS: tuple[tuple[Metric, Callable[[Training], float | None]], ...] = (
    (catalogue.JOB_PROGRESS, lambda item: item.progress),
    (catalogue.JOB_LOSS, lambda item: item.loss),
    (catalogue.JOB_EVAL_LOSS, lambda item: item.eval_loss),
    (catalogue.JOB_SPEED, lambda item: item.tokens_per_second),
    (catalogue.JOB_LEFT, lambda item: item.eta_seconds),
    (catalogue.JOB_REPORT_AGE, lambda item: item.report_age),
)


def _family(metric: Metric, values: Mapping[Labels, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.full_name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
