"""Reads what all running jobs report with one request, as often as the MLflow server can bear."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from vernacular.api import FineTuneJob, StageState
from vernacular_operator.domain.policies.progress import worth_writing
from vernacular_operator.domain.snapshot import ProgressFacts
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.clock import Clock
from vernacular_operator.tracking.errors import TrackingError
from vernacular_operator.tracking.mlflow import Metric, MlflowClient, Run
from vernacular_trainer.contract import PHASE_TAG, PhaseReport

_log = logging.getLogger(__name__)
# MLflow's filter parser refuses 5,000 ids in one request and takes 2,500
_RUNS_A_REQUEST = 2500
# a little more than a twentieth: other statuses are written beside
_SECONDS_BETWEEN_WRITES = 0.06
_SAMPLES = 30
# the largest count that a status can hold
_LARGEST = 2**53


@dataclass(frozen=True)
class _Job:
    key: Key
    uid: str
    experiment_id: str


@dataclass(frozen=True)
class Reported:
    """What a job's run holds: progress of its training, and what its stage does; None when it says nothing."""

    progress: ProgressFacts | None = None
    phase: PhaseReport | None = None


_NOTHING = Reported()


@dataclass(frozen=True)
class Polled:
    """When MLflow answered last, and how many seconds it took to tell the progress of what ran."""

    at: datetime
    seconds: float


class ProgressReader:
    """For one event loop; `tell` is called with the key of each job whose progress is worth writing.

    Reading and telling are two loops: slow writes do not make the reading rarer, nor the other way round.
    """

    def __init__(
        self, client: MlflowClient, cache: Cache, tell: Callable[[Key], None], clock: Clock, interval: float
    ) -> None:
        self._client = client
        self._cache = cache
        self._tell = tell
        self._clock = clock
        self._interval = interval
        self._latest: dict[str, Reported] = {}
        self._samples: dict[str, deque[Metric]] = {}
        self._news: dict[Key, None] = {}
        self._is_news = asyncio.Event()
        # an MLflow that never answers has been unread since the start
        self.polled = Polled(clock.now(), 0.0)

    def latest(self, uid: str) -> Reported:
        """What the job with this uid reported last."""
        return self._latest.get(uid, _NOTHING)

    async def run(self) -> None:
        """Poll for ever; a server that answers slowly is asked less often."""
        while True:
            began = monotonic()
            try:
                await self.poll()
            except TrackingError as error:
                _log.warning("progress: %s", error)
            await asyncio.sleep(max(self._interval, 10 * (monotonic() - began)))

    async def tell_for_ever(self) -> None:
        """Tell of each job with news, oldest news first, so slowly that fewer than twenty writes a second follow."""
        while True:
            await self._is_news.wait()
            key = next(iter(self._news))
            del self._news[key]
            if not self._news:
                self._is_news.clear()
            self._tell(key)
            await asyncio.sleep(_SECONDS_BETWEEN_WRITES)

    async def poll(self) -> None:
        """Read the runs of all jobs with a running stage. Raises TrackingError when MLflow does not answer."""
        running = dict(_running(self._cache))
        for uid in self._latest.keys() - {item.uid for item in running.values()}:
            self._latest.pop(uid)
            self._samples.pop(uid, None)
        if not running:
            # new trainings wait for their run while MLflow is away, also when none is there to be read of
            await self._client.ping()
            self.polled = Polled(self._clock.now(), 0.0)
            return
        began = monotonic()
        run_ids = list(running)
        for start in range(0, len(run_ids), _RUNS_A_REQUEST):
            ids = run_ids[start : start + _RUNS_A_REQUEST]
            experiments = sorted({running[run_id].experiment_id for run_id in ids})
            quoted = ",".join(f"'{run_id}'" for run_id in ids)
            for run in await self._client.search_runs(experiments, f"attributes.run_id IN ({quoted})", len(ids)):
                self._take_alone(running[run.run_id], run)
        self.polled = Polled(self._clock.now(), monotonic() - began)

    def _take_alone(self, known: _Job, run: Run) -> None:
        """Users log what they like: what one run holds must not hide the others."""
        try:
            self._take(known, run)
        except Exception as error:
            _log.warning("progress of %s/%s: run %s cannot be read: %r", *known.key, run.run_id, error)

    def _take(self, known: _Job, run: Run) -> None:
        job = self._cache.job(known.key)
        if job is None:
            return
        before = self.latest(known.uid)
        now = Reported(self._facts(known.uid, run), PhaseReport.from_text(run.tags.get(PHASE_TAG, "")))
        is_news = now.phase != before.phase or (now.progress and _is_news(job, now.progress))
        self._latest[known.uid] = now
        if is_news:
            self._news[known.key] = None
            self._is_news.set()

    def _facts(self, uid: str, run: Run) -> ProgressFacts | None:
        """None without a step that can be believed: a trainer of the user's own may log anything under these names."""
        metric = run.metrics.get("progress/step")
        step, reported_at = _count(metric), _moment(metric)
        if metric is None or step is None or reported_at is None:
            return None
        samples = self._samples.setdefault(uid, deque(maxlen=_SAMPLES))
        if samples and metric.value < samples[-1].value:
            # resumed from a checkpoint
            samples.clear()
        if not samples or samples[-1] != metric:
            samples.append(metric)
        total_steps = _count(run.metrics.get("progress/total_steps")) or 0
        return ProgressFacts(
            step=step,
            total_steps=total_steps,
            loss=_decimal(run.metrics.get("train/loss")),
            eval_loss=_decimal(run.metrics.get("eval/loss")),
            tokens_per_second=_count(run.metrics.get("train/tokens_per_second")),
            eta_seconds=_remaining(samples, total_steps),
            reported_at=reported_at,
            checkpoint_step=_count(run.metrics.get("progress/checkpoint_step")) or 0,
            checkpoint_seconds=_count(run.metrics.get("progress/checkpoint_seconds")) or 0,
        )


def _is_news(job: FineTuneJob, progress: ProgressFacts) -> bool:
    saved = job.status.checkpoints.latest_step if job.status.checkpoints else 0
    return progress.checkpoint_step > saved or worth_writing(job.status.progress, progress)


def _running(cache: Cache) -> Iterator[tuple[str, _Job]]:
    for key, job in cache.jobs():
        mlflow = job.status.mlflow
        running = any(item.state == StageState.RUNNING for item in job.status.stages)
        if running and mlflow and mlflow.run_id:
            yield mlflow.run_id, _Job(key, job.metadata.uid, mlflow.experiment_id or "")


def _remaining(samples: deque[Metric], total_steps: int) -> int | None:
    """Seconds until the last step at the pace of the samples; None while the pace is not known."""
    steps = samples[-1].value - samples[0].value
    seconds = (samples[-1].timestamp - samples[0].timestamp) / 1000
    if steps <= 0 or seconds <= 0 or total_steps <= 0:
        return None
    return _whole(max(0.0, total_steps - samples[-1].value) * seconds / steps)


def _decimal(metric: Metric | None) -> str:
    return f"{metric.value:.4g}" if metric else ""


def _count(metric: Metric | None) -> int | None:
    return _whole(metric.value) if metric else None


def _whole(value: float) -> int | None:
    """The whole number next to the value; None for what no status can hold: negative, endless, or no number."""
    return round(value) if 0 <= value <= _LARGEST else None


def _moment(metric: Metric | None) -> datetime | None:
    """When it was logged; None for a time that no calendar has, such as nanoseconds in place of milliseconds."""
    if metric is None or metric.timestamp < 0:
        return None
    try:
        return datetime.fromtimestamp(metric.timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
