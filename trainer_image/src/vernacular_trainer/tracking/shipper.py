"""Sends the spool to the MLflow run while training goes on, and keeps trying when the server is away."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import JobConfig
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.client import connect
from vernacular_trainer.tracking.spool import Point, Spool, unsent_batches
from vernacular_trainer.workspace import Workspace

# a server that many jobs ask at once answers late: to give up early would only make it do everything twice
SHIP_TIMEOUT_SECONDS = 30

log = logging.getLogger(__name__)

Send = Callable[[tuple[Point, ...]], None]


def send_to_run(client: Any, run_id: str) -> Send:
    """A function that sends points to one run in one request."""
    from mlflow.entities import Metric

    def send(points: tuple[Point, ...]) -> None:
        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points])

    return send


def ship(folder: Path, send: Send, may_send: Callable[[], bool] = lambda: True) -> int:
    """Send everything that has not arrived and confirm it batch by batch, one request each, as long as `may_send`.

    Returns the number of points sent; raises what `send` raises.
    """
    count = 0
    for batch in unsent_batches(folder):
        if not may_send():
            break
        send(batch.points)
        batch.file.confirm(batch.end)
        count += len(batch.points)
    return count


class Shipper:
    """A thread that ships a spool every `interval` seconds as far as its `allowance` of requests goes, and less often
    while the server does not answer.
    """

    def __init__(
        self,
        spool: Spool,
        folder: Path,
        open_connection: Callable[[], Send],
        allowance: Allowance,
        interval: float = 5.0,
        longest_pause: float = 60.0,
        spread: Callable[[], float] = lambda: random.uniform(0.5, 1.0),
    ) -> None:
        self._spool = spool
        self._allowance = allowance
        self._folder = folder
        self._open_connection = open_connection
        self._interval = interval
        self._longest_pause = longest_pause
        self._spread = spread
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric-shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_seconds: float) -> None:
        """Ask for one last shipment and wait for it at most `wait_seconds`; what is left stays in the spool."""
        self._stopping.set()
        self._thread.join(wait_seconds)

    def _run(self) -> None:
        pause, send = self._interval, None
        while True:
            # hundreds of jobs that missed the server together must not come back together
            last = self._stopping.wait(pause * self._spread())
            try:
                self._spool.sync()
                send = send or self._open_connection()
                # what is left at the end must not wait for publish
                ship(self._folder, send, (lambda: True) if last else self._allowance.take)
                pause = self._interval
            except Exception as error:  # nothing about metrics may ever stop a training
                if pause == self._interval:
                    log.warning("metrics stay in the spool for now: %s", type(error).__name__)
                pause = min(pause * 2, self._longest_pause)
            if last:
                return


class SpoolSink:
    """The sink of a training: local file first, MLflow from a thread. Nothing it does stops a training."""

    def __init__(self, spool: Spool, shipper: Shipper | None, close_seconds: float = 15.0) -> None:
        self._spool = spool
        self._shipper = shipper
        self._close_seconds = close_seconds
        self._reported = False
        if shipper:
            shipper.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        try:
            self._spool.append(step, metrics)
        except OSError as error:
            self._report(error)

    def close(self) -> None:
        if self._shipper:
            self._shipper.stop(self._close_seconds)
        try:
            self._spool.close()
        except OSError as error:
            log.warning("%d lines of metrics are lost: %s", self._spool.waiting, error.strerror)

    def _report(self, error: OSError) -> None:
        if not self._reported:
            log.warning("metrics wait until they can be written to the spool: %s", error.strerror)
        self._reported = True


def open_sink(
    config: JobConfig, workspace: Workspace, allowance: Allowance, clock: Callable[[], float] = time.time
) -> SpoolSink:
    """The sink for this attempt of a job. Without a run (`tracking.run_id` empty) metrics wait for publish."""
    spool = Spool(workspace.spool, config.attempt, clock)
    if not config.tracking.run_id:
        return SpoolSink(spool, None)
    run_id = config.tracking.run_id

    def connection() -> Send:
        return send_to_run(connect(config.tracking, SHIP_TIMEOUT_SECONDS), run_id)

    shipper = Shipper(spool, workspace.spool, connection, allowance)
    return SpoolSink(spool, shipper)
