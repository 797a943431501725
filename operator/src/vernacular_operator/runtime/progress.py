"""Reads the progress of all running trainings with one request, as often as the MLflow server can bear."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from vernacular.api import Stage, StageState
from vernacular_operator.domain.policies.progress import worth_writing
from vernacular_operator.domain.snapshot import ProgressFacts
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.clock import Clock
from vernacular_operator.tracking.errors import TrackingError
from vernacular_operator.tracking.mlflow import Metric, MlflowClient, Run

_log = logging.getLogger(__name__)
# MLflow's filter parser refuses 5,000 ids in one request and takes 2,500
_RUNS_A_REQUEST = 2500
_SECONDS_BETWEEN_WRITES = 0.05
_SAMPLES = 30


@dataclass(frozen=True)
class _Training:
    key: Key
    uid: str
    experiment_id: str


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
        self._latest: dict[str, ProgressFacts] = {}
        self._samples: dict[str, deque[Metric]] = {}
        self._news: dict[Key, None] = {}
        self._is_news = asyncio.Event()
        self.polled: Polled | None = None

    def latest(self, uid: str) -> ProgressFacts | None:
        """What training of the job with this uid reported last."""
        return self._latest.get(uid)

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
        """Tell of each job with news, oldest news first, so slowly that at most twenty writes a second follow."""
        while True:
            await self._is_news.wait()
            key = next(iter(self._news))
            del self._news[key]
            if not self._news:
                self._is_news.clear()
            self._tell(key)
            await asyncio.sleep(_SECONDS_BETWEEN_WRITES)

    async def poll(self) -> None:
        """Read the progress of every running training. Raises TrackingError when MLflow does not answer."""
        training = dict(_training(self._cache))
        for uid in self._latest.keys() - {item.uid for item in training.values()}:
            self._latest.pop(uid)
            self._samples.pop(uid, None)
        if not training:
            self.polled = Polled(self._clock.now(), 0.0)
            return
        began = monotonic()
        run_ids = list(training)
        for start in range(0, len(run_ids), _RUNS_A_REQUEST):
            ids = run_ids[start : start + _RUNS_A_REQUEST]
            experiments = sorted({training[run_id].experiment_id for run_id in ids})
            quoted = ",".join(f"'{run_id}'" for run_id in ids)
            for run in await self._client.search_runs(experiments, f"attributes.run_id IN ({quoted})", len(ids)):
                self._take(training[run.run_id], run)
        self.polled = Polled(self._clock.now(), monotonic() - began)

    def _take(self, training: _Training, run: Run) -> None:
        facts, job = self._facts(training.uid, run), self._cache.job(training.key)
        if facts is None or job is None:
            return
        self._latest[training.uid] = facts
        if worth_writing(job.status.progress, facts):
            self._news[training.key] = None
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
        return ProgressFacts(
            step=int(step.value),
            total_steps=total_steps,
            loss=_decimal(run.metrics.get("train/loss")),
            eval_loss=_decimal(run.metrics.get("eval/loss")),
            tokens_per_second=_whole(run.metrics.get("train/tokens_per_second")),
            eta_seconds=_remaining(samples, total_steps),
            reported_at=datetime.fromtimestamp(step.timestamp / 1000, UTC),
        )


def _training(cache: Cache) -> Iterator[tuple[str, _Training]]:
    for key, job in cache.jobs():
        mlflow = job.status.mlflow
        running = any(item.name == Stage.TRAIN and item.state == StageState.RUNNING for item in job.status.stages)
        if running and mlflow and mlflow.run_id:
            yield mlflow.run_id, _Training(key, job.metadata.uid, mlflow.experiment_id or "")


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
