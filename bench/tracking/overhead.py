"""What being tracked takes from a training that logs every step."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.tracking.jobs import METRICS, thread_cpu_seconds
from support.mlflow_server import MlflowServer
from vernacular_trainer.contract import TrackingConfig
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.client import connect
from vernacular_trainer.tracking.shipper import Shipper, SpoolSink, send_to_run
from vernacular_trainer.tracking.spool import Spool

STEPS, ROUNDS = 120, 3
# a step of about a fifth of a second on one core: real ones take longer, and log more rarely
_SIZE, _PRODUCTS = 1024, 12


@dataclass(frozen=True)
class Overhead:
    """Percent of the time of a training: that it waited for its tracking, that tracking kept a core busy, both; and how
    much longer it took than without (the noise of the machine in it). `step` in milliseconds.
    """

    waited: float
    busy: float
    longer: float
    step: float

    @property
    def total(self) -> float:
        return self.waited + self.busy


def overhead(server: MlflowServer, folder: Path) -> Overhead:
    """Trainings with and without tracking take turns."""
    torch.set_num_threads(1)
    plain, tracked = [], []
    waited, busy = 0.0, 0.0
    for number in range(ROUNDS):
        plain.append(_train(None)[0])
        sink = _sink(server, folder / str(number))
        seconds, waiting = _train(sink)
        busy += sum(thread_cpu_seconds(each) for each in threading.enumerate() if each.name == "metric-shipper")
        sink.close()
        tracked.append(seconds)
        waited += waiting
    longer = 100 * (statistics.median(tracked) / statistics.median(plain) - 1)
    total = sum(tracked)
    return Overhead(100 * waited / total, 100 * busy / total, longer, 1000 * statistics.median(plain) / STEPS)


def _train(sink: SpoolSink | None) -> tuple[float, float]:
    """Seconds of a training, and those of them that it spent in the sink."""
    weights = torch.full((_SIZE, _SIZE), 1e-3)
    began, waited = time.perf_counter(), 0.0
    for step in range(1, STEPS + 1):
        for _ in range(_PRODUCTS):
            weights = (weights @ weights).clamp(-1e-3, 1e-3)
        if sink:
            before = time.perf_counter()
            sink.log(step, dict.fromkeys(METRICS, float(weights[0, 0])))
            waited += time.perf_counter() - before
    return time.perf_counter() - began, waited


def _sink(server: MlflowServer, folder: Path) -> SpoolSink:
    tracking = TrackingConfig(server.uri, "overhead")
    client = connect(tracking)
    experiment = client.get_experiment_by_name("overhead")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("overhead")
    run_id = client.create_run(experiment_id).info.run_id
    spool = Spool(folder, 1)
    return SpoolSink(spool, Shipper(spool, folder, lambda: send_to_run(connect(tracking), run_id), Allowance()))
