"""The operator's metrics: what is counted, what is read when it is asked for, and that the reference names all."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from docs.reference.generate import main
from support.worlds import NOW, child, fine_tune_job, pod, until_stage, with_status, world
from vernacular.api import FineTuneJobStatus, Stage, StageState, StageStatus
from vernacular.api.base import timestamp
from vernacular.api.status import FailureStatus, UsageStatus
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import ProgressFacts
from vernacular_operator.telemetry.catalogue import CATALOGUE, PREFIX
from vernacular_operator.telemetry.metrics import Metrics, OperatorState
from vernacular_operator.telemetry.running import Running, Training, running
from vernacular_operator.telemetry.server import serving

EVERYTHING = OperatorState(
    jobs={"Training": 3},
    queue_depth=2,
    queue_age=1.5,
    watch_ages={"pods": 4.0},
    poll_age=6.0,
    poll_seconds=0.5,
    running=Running(Counter({("demo", "Train"): 8}), [Training("demo", "hr-bot", 0.5, 0.4, 0.5, 1000, 60, 7.0)]),
)


def values(metrics: Metrics) -> dict[str, float]:
    """Samples by name and label values in the order of their names, such as `jobs{Training}`."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "le")
            found[sample.name.removeprefix(PREFIX) + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def stage(state: StageState, seconds: float = 90) -> FineTuneJobStatus:
    record = StageStatus(
        name=Stage.TRAIN,
        state=state,
        start_time=timestamp(NOW),
        completion_time=timestamp(NOW + timedelta(seconds=seconds)),
    )
    return fine_tune_job().status.model_copy(update={"stages": (record,)})


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics, state = Metrics(), EVERYTHING
    metrics.observe_state(lambda: state)
    found = values(metrics)
    assert (found["jobs{Training}"], found["jobs{Failed}"]) == (3, 0)
    assert (found["queue_depth"], found["queue_oldest_seconds"]) == (2, 1.5)
    assert (found["gpus{demo,Train}"], found["job_progress_ratio{hr-bot,demo}"]) == (8, 0.5)
    assert (found["watch_last_event_seconds{pods}"], found["mlflow_poll_age_seconds"]) == (4, 6)

    state = replace(EVERYTHING, queue_depth=0, poll_age=None, poll_seconds=None)
    found = values(metrics)
    assert found["queue_depth"] == 0
    assert "mlflow_poll_age_seconds" not in found


def test_a_stage_is_timed_once_when_it_ends() -> None:
    metrics = Metrics()
    running, done = stage(StageState.RUNNING), stage(StageState.SUCCEEDED)
    metrics.status_written("demo", running, done)
    metrics.status_written("demo", done, done)

    found = values(metrics)
    assert found["stage_duration_seconds_count{Succeeded,Train}"] == 1
    assert found["stage_duration_seconds_sum{Succeeded,Train}"] == 90


def test_failures_and_restarts_are_counted_when_they_are_new() -> None:
    metrics, before = Metrics(), fine_tune_job().status
    failed = before.model_copy(
        update={
            "failure": FailureStatus(code="DatasetSchema", message="line 7"),
            "usage": UsageStatus(restarts=2, preemptions=1),
        }
    )
    metrics.status_written("demo", before, failed)
    metrics.status_written("demo", failed, failed)

    found = values(metrics)
    assert found["job_failures_total{DatasetSchema}"] == 1
    assert (found["attempt_restarts_total{failure}"], found["attempt_restarts_total{preemption}"]) == (2, 1)


def test_gpu_time_is_counted_by_namespace_and_use() -> None:
    metrics, before = Metrics(), fine_tune_job().status
    first = UsageStatus(gpu_seconds=100, waiting_gpu_seconds=40, cost="0.50", currency="EUR")
    more = UsageStatus(gpu_seconds=300, waiting_gpu_seconds=40, productive_gpu_seconds=150, cost="1.50", currency="EUR")
    statuses = [before.model_copy(update={"usage": usage}) for usage in (None, first, more)]
    for old, new in pairwise(statuses):
        metrics.status_written("demo", old, new)

    found = values(metrics)
    assert found["gpu_seconds_total{demo}"] == 300
    assert (found["gpu_use_seconds_total{demo,waiting}"], found["gpu_use_seconds_total{demo,productive}"]) == (40, 150)
    assert found["gpu_use_seconds_total{demo,lost}"] == 0
    assert found["gpu_cost_total{EUR,demo}"] == 1.5


def test_only_what_runs_has_series_of_its_own() -> None:
    job = fine_tune_job(compute={"gpusPerPod": 8})
    snapshot = until_stage(Stage.TRAIN, world(job))
    pods = (pod(Stage.TRAIN, scheduled_at=NOW),)
    facts = ProgressFacts(10, 40, "0.4", "", 1000, None, NOW)
    snapshot = replace(snapshot, pods=pods, progress=facts)
    training = with_status(snapshot, reconcile(snapshot, NOW)).job

    found = running([training, fine_tune_job(name="other")], NOW + timedelta(seconds=7))
    assert found.gpus == {("demo", "Train"): 8}
    assert found.trainings == (Training("demo", "hr-bot", 0.25, 0.4, None, 1000, None, 7.0),)
    assert running([until_stage(Stage.EVALUATE).job], NOW) == Running()


def test_a_training_is_silent_only_while_it_holds_its_nodes() -> None:
    snapshot = until_stage(Stage.TRAIN, world(fine_tune_job(compute={"gpusPerPod": 8})))
    placed = replace(
        snapshot, pods=(pod(Stage.TRAIN, scheduled_at=NOW),), progress=ProgressFacts(10, 40, "", "", None, None, NOW)
    )
    reported = with_status(placed, reconcile(placed, NOW))
    queue = (*reported.jobs[:-1], child(Stage.TRAIN, suspended=True, suspended_at=NOW + timedelta(seconds=60)))
    queued = replace(reported, jobs=queue, pods=())
    later = NOW + timedelta(hours=3)
    queued = with_status(queued, reconcile(queued, later))
    (waits,) = running([queued.job], later).trainings
    assert (waits.progress, waits.report_age) == (0.25, None)

    admitted = replace(queued, jobs=reported.jobs, pods=(pod(Stage.TRAIN, scheduled_at=later),))
    admitted = with_status(admitted, reconcile(admitted, later))
    (loads,) = running([admitted.job], later + timedelta(minutes=5)).trainings
    assert loads.report_age == timedelta(minutes=5).total_seconds()


def test_looks_and_requests_are_counted() -> None:
    metrics = Metrics()
    metrics.reconciled(0.02, "done")
    metrics.api_request("PATCH", "finetunejobs", "409")

    found = values(metrics)
    assert found["reconcile_duration_seconds_count{done}"] == 1
    assert found["api_requests_total{finetunejobs,409,PATCH}"] == 1


def test_two_operators_in_one_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.api_request("GET", "jobs", "200")

    assert "api_requests_total{jobs,200,GET}" not in values(other)


def test_every_metric_of_the_catalogue_is_exposed_and_no_other() -> None:
    metrics = Metrics()
    metrics.observe_state(lambda: EVERYTHING)
    used = UsageStatus(gpu_seconds=1, cost="0.01", currency="EUR")
    metrics.status_written("demo", FineTuneJobStatus(), FineTuneJobStatus(usage=used))
    exposed = {family.name for family in text_string_to_metric_families(metrics.text().decode())}

    assert exposed == {metric.full_name.removesuffix("_total") for metric in CATALOGUE}


def test_the_reference_says_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


async def test_metrics_are_served() -> None:
    metrics = Metrics()
    metrics.api_request("GET", "jobs", "200")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with serving(metrics, port), aiohttp.ClientSession(trust_env=False) as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert "vernacular_api_requests_total" in await answer.text()
        async with session.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 404
