"""Reads what all running jobs report with one request, as often as the MLflow server can bear."""

from __future__ import annotations

import asyncio
import logging
import math
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
_SECONDS_BETWEEN_WRITES = 0.055
_SAMPLES = 30


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
    """When progress was read last, and how many seconds MLflow took."""

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
        self.polled: Polled | None = None

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
            self.polled = Polled(self._clock.now(), 0.0)
            return
        began = monotonic()
        run_ids = list(running)
        for start in range(0, len(run_ids), _RUNS_A_REQUEST):
            ids = run_ids[start : start + _RUNS_A_REQUEST]
            experiments = sorted({running[run_id].experiment_id for run_id in ids})
            quoted = ",".join(f"'{run_id}'" for run_id in ids)
            for run in await self._client.search_runs(experiments, f"attributes.run_id IN ({quoted})", len(ids)):
                self._take(running[run.run_id], run)
        self.polled = Polled(self._clock.now(), monotonic() - began)

    def _take(self, known: _Job, run: Run) -> None:
        job = self._cache.job(known.key)
        if job is None:
            return
        before = self.latest(known.uid)
        now = Reported(self._facts(known.uid, run), PhaseReport.from_text(run.tags.get(PHASE_TAG, "")))
        self._latest[known.uid] = now
        if now.phase != before.phase or (now.progress and _is_news(job, now.progress)):
            self._news[known.key] = None
            self._is_news.set()

    def _facts(self, uid: str, run: Run) -> ProgressFacts | None:
        step, total = run.metrics.get("progress/step"), run.metrics.get("progress/total_steps")
        if step is None or not math.isfinite(step.value):
            return None
        samples = self._samples.setdefault(uid, deque(maxlen=_SAMPLES))
        if samples and step.value < samples[-1].value:
            # resumed from a checkpoint
            samples.clear()
        if not samples or samples[-1] != step:
            samples.append(step)
        total_steps = int(total.value) if total and math.isfinite(total.value) else 0
        saved = run.metrics.get("progress/checkpoint_step")
        return ProgressFacts(
            step=int(step.value),
            total_steps=total_steps,
            loss=_decimal(run.metrics.get("train/loss")),
            eval_loss=_decimal(run.metrics.get("eval/loss")),
            tokens_per_second=_whole(run.metrics.get("train/tokens_per_second")),
            eta_seconds=_remaining(samples, total_steps),
            reported_at=datetime.fromtimestamp(step.timestamp / 1000, UTC),
            checkpoint_step=_whole(saved) or 0,
            checkpoint_seconds=_whole(run.metrics.get("progress/checkpoint_seconds")) or 0,
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
    return round(max(0.0, total_steps - samples[-1].value) * seconds / steps)


def _decimal(metric: Metric | None) -> str:
    return f"{metric.value:.4g}" if metric else ""


def _whole(metric: Metric | None) -> int | None:
    return round(metric.value) if metric and math.isfinite(metric.value) else None
