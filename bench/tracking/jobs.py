"""Many jobs that train at the same time, as far as their tracking goes, and the operator that reads them."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.operator.processes import cpu_seconds
from support.mlflow_server import MlflowServer
from vernacular_operator.tracking.mlflow import Credentials, MlflowClient
from vernacular_trainer.contract import TrackingConfig
from vernacular_trainer.tracking.allowance import REQUESTS_PER_MINUTE, Allowance
from vernacular_trainer.tracking.client import connect
from vernacular_trainer.tracking.shipper import SHIP_TIMEOUT_SECONDS, Send, Shipper, SpoolSink, send_to_run
from vernacular_trainer.tracking.spool import Point, Spool

JOBS = 200
SECONDS = 60
POLL_SECONDS = 10
METRICS = (
    *("train/loss", "train/learning_rate", "train/tokens_per_second", "train/grad_norm"),
    *("progress/step", "progress/total_steps", "progress/attempt"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """`busy`: percent of a core that the server used, `requests`: per job and minute, times in milliseconds."""

    busy: float
    requests: float
    points: int
    usual: float
    slowest: float
    poll: float


def load(server: MlflowServer, folder: Path) -> Load:
    """All jobs log a step a second for SECONDS, beginning when their early requests are spent."""
    client = connect(TrackingConfig(server.uri, "load"))
    experiment = client.create_experiment("load")
    runs = [client.create_run(experiment).info.run_id for _ in range(JOBS)]
    counter = _Counter()
    sinks = [_begin(server.uri, folder / run_id, run_id, counter) for run_id in runs]
    stop = threading.Event()
    steps = threading.Thread(target=_train, args=(sinks, stop), daemon=True)
    steps.start()
    try:
        return asyncio.run(_measure(server, experiment, runs, counter))
    finally:
        # the shippers end with this process
        stop.set()
        steps.join()


class _Counter:
    """Requests and points of all jobs."""

    def __init__(self) -> None:
        self.requests = 0
        self.points = 0
        self._lock = threading.Lock()

    def counted(self, send: Send) -> Send:
        def counting(points: tuple[Point, ...]) -> None:
            with self._lock:
                self.requests += 1
                self.points += len(points)
            send(points)

        return counting


def _begin(uri: str, folder: Path, run_id: str, counter: _Counter) -> SpoolSink:
    """Jobs begin at different moments, so that their requests are spread over the time between two of one job."""
    time.sleep(60 / REQUESTS_PER_MINUTE / JOBS)
    allowance = Allowance()
    while allowance.take():
        """A job that has trained for a while has spent them."""
    spool = Spool(folder, 1)

    def connection() -> Send:
        return counter.counted(send_to_run(connect(TrackingConfig(uri, "load"), SHIP_TIMEOUT_SECONDS), run_id))

    return SpoolSink(spool, Shipper(spool, folder, connection, allowance))


def _train(sinks: list[SpoolSink], stop: threading.Event) -> None:
    step = 0
    while not stop.wait(1.0):
        step += 1
        for sink in sinks:
            sink.log(step, dict.fromkeys(METRICS, step / 8))


async def _measure(server: MlflowServer, experiment: str, runs: list[str], counter: _Counter) -> Load:
    """The operator reads progress, and somebody looks something up every second, while the jobs train."""
    client = MlflowClient(server.uri, Credentials())
    requests, points, cpu, began = counter.requests, counter.points, cpu_of(server), time.monotonic()
    condition = "attributes.run_id IN (" + ",".join(f"'{run_id}'" for run_id in runs) + ")"
    polls, asks = [], []
    for second in range(SECONDS):
        if second % POLL_SECONDS == 0:
            polls.append(await _timed(client.search_runs([experiment], condition, len(runs))))
        asks.append(await _timed(client.ping()))
        await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))
    minutes = (time.monotonic() - began) / 60
    busy = (cpu_of(server) - cpu) / (60 * minutes)
    await client.close()
    asks.sort()
    return Load(
        busy=100 * busy,
        requests=(counter.requests - requests) / JOBS / minutes,
        points=counter.points - points,
        usual=statistics.median(asks),
        slowest=asks[int(0.95 * len(asks))],
        poll=statistics.median(polls),
    )


async def _timed(call: Any) -> float:
    """Milliseconds that a call takes."""
    began = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - began)


def cpu_of(server: MlflowServer) -> float:
    """Processor seconds of the server with its worker."""
    return sum(cpu_seconds(pid) for pid in server.processes())


def thread_cpu_seconds(thread: threading.Thread) -> float:
    """Processor seconds of a thread of this process so far."""
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
