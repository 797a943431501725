"""Training and publishing before a real MLflow server that is killed, hangs, fails or is slow: training never waits,
nothing is lost or doubled, and the order stays.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from support.mlflow_proxy import MlflowProxy, Trouble
from support.mlflow_server import MlflowServer
from support.training import Finished, TrainingJob
from vernacular_trainer.contract import TrackingConfig
from vernacular_trainer.stages import publish
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.client import connect
from vernacular_trainer.tracking.shipper import Shipper, SpoolSink, send_to_run, ship
from vernacular_trainer.tracking.spool import Spool

STEPS = 60


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[MlflowProxy]:
    with MlflowProxy(mlflow_server.uri) as proxy:
        yield proxy


class Tracked:
    """A training that is tracked through the proxy, with a client of little patience."""

    def __init__(self, folder: Path, server: MlflowServer, proxy: MlflowProxy, timeout_seconds: int = 1) -> None:
        self.client = MlflowClient(server.uri)
        experiment = self.client.create_experiment(f"{folder.name}-{time.monotonic_ns()}")
        self.run_id = self.client.create_run(experiment).info.run_id
        self.folder = folder / "spool"
        self.longest = 0.0
        self._step = 0

        def connection() -> Any:
            return send_to_run(connect(TrackingConfig(proxy.uri, "unused"), timeout_seconds), self.run_id)

        spool = Spool(self.folder, 1)
        shipper = Shipper(spool, self.folder, connection, Allowance(60_000), interval=0.05, longest_pause=0.2)
        self.sink = SpoolSink(spool, shipper, close_seconds=60)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self._step += 1
            began = time.monotonic()
            self.sink.log(self._step, {"train/loss": self._step / 8, "train/grad_norm": 1.0})
            self.longest = max(self.longest, time.monotonic() - began)

    def arrived(self, name: str = "train/loss") -> list[tuple[int, float]]:
        """In the order in which MLflow has them."""
        return [(point.step, point.value) for point in self.client.get_metric_history(self.run_id, name)]


def expected(steps: int) -> list[tuple[int, float]]:
    return [(step, step / 8) for step in range(1, steps + 1)]


@pytest.mark.parametrize("trouble", [Trouble.HANGS, Trouble.FAILS, Trouble.BREAKS_OFF, Trouble.FAILS_AFTER])
def test_after_trouble_every_point_is_there_once_and_in_order(
    tmp_path: Path, mlflow_server: MlflowServer, proxy: MlflowProxy, trouble: Trouble
) -> None:
    tracked = Tracked(tmp_path, mlflow_server, proxy)
    tracked.train(STEPS)
    proxy.wait_for(lambda met: met[Trouble.NONE] > 0)
    proxy.trouble = trouble
    for round_ in range(1, 3):
        tracked.train(STEPS)
        proxy.wait_for(lambda met, least=round_: met[trouble] >= least)  # type: ignore[misc]
    proxy.trouble = Trouble.NONE
    tracked.train(STEPS)
    tracked.sink.close()

    assert tracked.arrived() == expected(4 * STEPS)
    assert len(tracked.arrived("train/grad_norm")) == 4 * STEPS
    # a request that hangs takes a second
    assert tracked.longest < 0.5


def test_a_slow_server_holds_up_nothing(tmp_path: Path, mlflow_server: MlflowServer, proxy: MlflowProxy) -> None:
    proxy.trouble = Trouble.SLOW
    tracked = Tracked(tmp_path, mlflow_server, proxy, timeout_seconds=5)
    tracked.train(STEPS)
    proxy.wait_for(lambda met: met[Trouble.SLOW] >= 1)
    tracked.train(STEPS)
    tracked.sink.close()

    assert tracked.longest < 0.5
    assert proxy.requests <= 3
    assert tracked.arrived() == expected(2 * STEPS)


def test_a_server_that_is_killed_and_started_again_has_everything(
    tmp_path: Path, mlflow_server: MlflowServer, proxy: MlflowProxy
) -> None:
    tracked = Tracked(tmp_path, mlflow_server, proxy, timeout_seconds=5)
    tracked.train(5 * STEPS)
    proxy.wait_for(lambda met: met[Trouble.NONE] > 0)
    mlflow_server.kill()
    tracked.train(STEPS)
    seen = proxy.requests
    proxy.wait_for(lambda met: met.total() >= seen + 2)
    tracked.train(STEPS)
    mlflow_server.start()
    tracked.sink.close()

    ship(tracked.folder, send_to_run(tracked.client, tracked.run_id))
    assert tracked.longest < 0.5
    assert tracked.arrived() == expected(7 * STEPS)


def test_a_training_ends_well_while_the_server_hangs_and_publish_tells_all_of_it(
    tmp_path: Path,
    job: Callable[..., TrainingJob],
    train: Callable[[TrainingJob], Finished],
    mlflow_server: MlflowServer,
    proxy: MlflowProxy,
) -> None:
    client = MlflowClient(mlflow_server.uri)
    run_id = client.create_run(client.create_experiment(tmp_path.name)).info.run_id
    tracked = dataclasses.replace(job(), tracking=TrackingConfig(proxy.uri, tmp_path.name, run_id))
    proxy.trouble = Trouble.HANGS

    finished = train(tracked)

    assert (finished.exit_code, finished.summary.step) == (0, 6)
    proxy.wait_for(lambda met: met[Trouble.HANGS] > 0)
    assert client.get_run(run_id).data.metrics == {}
    ship(tracked.workspace.spool, send_to_run(client, run_id))
    assert [point.step for point in client.get_metric_history(run_id, "train/loss")] == list(range(1, 7))
    assert [point.value for point in client.get_metric_history(run_id, "progress/attempt")] == [1.0] * 6


def test_publish_waits_until_the_server_does_not_fail_any_more_and_says_so(
    tmp_path: Path, mlflow_server: MlflowServer, proxy: MlflowProxy, caplog: pytest.LogCaptureFixture
) -> None:
    client = MlflowClient(mlflow_server.uri)
    run_id = client.create_run(client.create_experiment(tmp_path.name)).info.run_id
    spool = Spool(tmp_path, 1)
    spool.append(1, {"train/loss": 2.0})
    spool.close()
    proxy.trouble = Trouble.FAILS_AFTER
    pauses: list[float] = []

    def mend(seconds: float) -> None:
        pauses.append(seconds)
        proxy.trouble = Trouble.NONE if len(pauses) == 3 else Trouble.FAILS

    patience = publish.Patience(sleep=mend)
    send = send_to_run(connect(TrackingConfig(proxy.uri, "unused")), run_id)
    with caplog.at_level(logging.WARNING):
        patience.call(lambda: ship(tmp_path, send))

    assert pauses == [1, 2, 4]
    assert [record.message for record in caplog.records if "does not answer" in record.message] == [
        f"MLflow does not answer, trying again in {seconds:.0f} s" for seconds in pauses
    ]
    assert len(client.get_metric_history(run_id, "train/loss")) == 1
