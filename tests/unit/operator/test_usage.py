"""GPU time and what became of it: productive, lost, waited for, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from support.worlds import NOW, child, ended, fine_tune_job, fine_tune_runtime, pod, until_stage, with_status, world
from vernacular.api import FineTuneJobStatus, JobState, Stage
from vernacular.api.base import timestamp
from vernacular.api.status import UsageStatus
from vernacular_operator.domain.draft import evolve
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import JobFacts, ProgressFacts, Snapshot
from vernacular_operator.manifests.runtime import snapshot_of
from vernacular_trainer.contract import (
    Outcome,
    Phase,
    PhaseReport,
    StageReport,
    TrainSummary,
    summary_to_dict,
)
from vernacular_trainer.contract import Stage as ContractStage

GPUS = 8


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def waiting_for_peers(**spec: Any) -> Snapshot:
    """Two pods of four GPUs each; one got its node at once, the other one none yet. The status says so."""
    shared = {"workspace": {"accessMode": "ReadWriteMany"}}
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 4}, storage=shared, **spec)
    snapshot = replace(until_stage(Stage.TRAIN, world(job)), pods=(pod(Stage.TRAIN, scheduled_at=NOW),))
    return step(snapshot, 0)


def step(snapshot: Snapshot, seconds: float, **changes: Any) -> Snapshot:
    """The snapshot after the operator looked at it and wrote its status."""
    snapshot = replace(snapshot, **changes)
    return with_status(snapshot, reconcile(snapshot, at(seconds)))


def training(snapshot: Snapshot, seconds: float) -> Snapshot:
    """All pods run, and say that they train."""
    attempt = snapshot.latest_attempt(Stage.TRAIN)
    pods = tuple(pod(Stage.TRAIN, attempt, index, scheduled_at=at(seconds)) for index in range(2))
    phase = PhaseReport(ContractStage.TRAIN, attempt, Phase.TRAINING)
    return step(snapshot, seconds, pods=pods, phase=phase)


def saved(snapshot: Snapshot, seconds: float, *, steps: int, held: int, eta: int | None = None) -> Snapshot:
    """A checkpoint is complete; it holds `held` seconds of training."""
    facts = ProgressFacts(steps, 40, "0.4", "", None, eta, at(seconds), checkpoint_step=steps, checkpoint_seconds=held)
    return step(snapshot, seconds, progress=facts)


def fail(snapshot: Snapshot, seconds: float, exit_code: int = 1, report: StageReport | None = None) -> Snapshot:
    attempt = snapshot.latest_attempt(Stage.TRAIN)
    failed = child(Stage.TRAIN, attempt, failed=True, finished_at=at(seconds))
    pods = (ended(Stage.TRAIN, attempt, exit_code=exit_code, report=report, after=seconds),)
    return step(snapshot, seconds + 2, jobs=(*snapshot.jobs[:-1], failed), pods=pods)


def succeed(snapshot: Snapshot, seconds: float, trained: int) -> Snapshot:
    attempt = snapshot.latest_attempt(Stage.TRAIN)
    done = child(Stage.TRAIN, attempt, complete=True, finished_at=at(seconds))
    summary = TrainSummary(step=40, total_steps=40, checkpoint_step=40, result_step=40, training_seconds=trained)
    report = StageReport(Outcome.DONE, summary=summary_to_dict(summary))
    pods = tuple(ended(Stage.TRAIN, attempt, index, report=report, after=seconds) for index in range(2))
    return step(snapshot, seconds + 2, jobs=(*snapshot.jobs[:-1], done), pods=pods)


def begin_again(snapshot: Snapshot, seconds: float) -> Snapshot:
    """The next attempt was created, and trains after ten seconds."""
    attempt = snapshot.latest_attempt(Stage.TRAIN) + 1
    snapshot = step(snapshot, seconds)
    assert snapshot.job.status.stage(Stage.TRAIN).attempt == attempt
    return training(replace(snapshot, jobs=(*snapshot.jobs, child(Stage.TRAIN, attempt))), seconds + 10)


def usage(snapshot: Snapshot) -> UsageStatus:
    assert snapshot.job.status.usage is not None
    return snapshot.job.status.usage


def seconds(snapshot: Snapshot) -> tuple[int, int, int, int]:
    """Held, productive, lost and waited, as seconds of all GPUs."""
    found = usage(snapshot)
    figures = (found.gpu_seconds, found.productive_gpu_seconds, found.lost_gpu_seconds, found.waiting_gpu_seconds)
    assert all(figure % GPUS == 0 for figure in figures)
    held, productive, lost, waited = (figure // GPUS for figure in figures)
    return held, productive, lost, waited


def priced(snapshot: Snapshot, price: Mapping[str, str]) -> Snapshot:
    taken = snapshot_of(fine_tune_runtime(cost=price))
    status = snapshot.job.status.model_copy(update={"runtime": taken})
    return replace(snapshot, job=snapshot.job.model_copy(update={"status": status}))


def test_waiting_for_peers_is_not_training() -> None:
    snapshot = training(waiting_for_peers(), 100)
    assert seconds(snapshot) == (100, 0, 0, 100)

    snapshot = saved(snapshot, 400, steps=10, held=250)
    assert seconds(snapshot) == (400, 250, 0, 100)
    assert usage(snapshot).goodput_percent == 75
    assert usage(snapshot).counted_until == timestamp(at(400))


def test_what_no_checkpoint_holds_is_lost_when_it_has_to_be_done_again() -> None:
    snapshot = saved(training(waiting_for_peers(), 100), 400, steps=10, held=250)
    snapshot = fail(snapshot, 500)
    assert seconds(snapshot) == (500, 250, 0, 100)

    snapshot = begin_again(snapshot, 560)
    held, productive, lost, waited = seconds(snapshot)
    assert (held, productive, lost, waited) == (500, 250, 150, 100)
    # the checkpoint holds the training of both attempts
    snapshot = succeed(snapshot, 900, trained=500)
    assert seconds(snapshot) == (830, 500, 150, 180)
    assert usage(snapshot).goodput_percent == 60


def test_a_checkpoint_that_was_saved_in_time_is_not_lost() -> None:
    snapshot = training(waiting_for_peers(), 0)
    summary = TrainSummary(step=13, total_steps=40, checkpoint_step=13, training_seconds=90, complete_checkpoints=1)
    report = StageReport(Outcome.PREEMPTED, summary=summary_to_dict(summary))
    snapshot = begin_again(fail(snapshot, 100, 85, report), 103)

    assert seconds(snapshot) == (100, 90, 10, 0)


def test_the_checkpoint_of_a_suspended_training_counts_though_it_comes_later() -> None:
    snapshot = training(waiting_for_peers(), 0)
    policy = snapshot.job.spec.run_policy.model_copy(update={"suspend": True})
    spec = snapshot.job.spec.model_copy(update={"run_policy": policy})
    snapshot = step(replace(snapshot, job=snapshot.job.model_copy(update={"spec": spec})), 100)
    assert seconds(snapshot) == (100, 0, 0, 0)

    summary = TrainSummary(step=13, total_steps=40, checkpoint_step=13, training_seconds=95, complete_checkpoints=1)
    report = StageReport(Outcome.PREEMPTED, summary=summary_to_dict(summary))
    pods = (ended(Stage.TRAIN, exit_code=85, report=report, after=110, gone=True),)
    snapshot = step(snapshot, 111, jobs=snapshot.jobs[:-1], pods=pods)
    assert snapshot.job.status.state == JobState.SUSPENDED
    assert seconds(snapshot) == (100, 95, 0, 0)
    # nothing is held meanwhile
    assert seconds(step(snapshot, 9999)) == (100, 95, 0, 0)


def test_a_trainer_of_the_users_own_tells_steps_alone() -> None:
    snapshot = training(waiting_for_peers(), 0)
    summary = TrainSummary(step=13, total_steps=13, checkpoint_step=13, complete_checkpoints=1)
    snapshot = fail(snapshot, 100, 85, StageReport(Outcome.PREEMPTED, summary=summary_to_dict(summary)))
    assert seconds(snapshot) == (100, 100, 0, 0)

    snapshot = fail(begin_again(snapshot, 103), 200)
    snapshot = succeed(begin_again(snapshot, 220), 330, trained=0)
    assert seconds(snapshot) == (100 + 87 + 100, 200, 87, 0)


def test_an_attempt_that_nobody_saw_is_counted() -> None:
    snapshot = waiting_for_peers()
    status = snapshot.job.status
    stages = tuple(item for item in status.stages if item.name != Stage.TRAIN)
    before = replace(
        snapshot, job=snapshot.job.model_copy(update={"status": status.model_copy(update={"stages": stages})})
    )
    done = child(Stage.TRAIN, complete=True, finished_at=at(60))
    pods = tuple(ended(Stage.TRAIN, index=index, after=60, scheduled_at=at(index)) for index in range(2))
    after = step(before, 600, jobs=(*before.jobs[:-1], done), pods=pods)

    assert seconds(after) == (60, 60, 0, 0)


def held_back(snapshot: Snapshot, suspended_at: float, **changes: Any) -> tuple[JobFacts, ...]:
    """The Jobs, the one of the training suspended by a queue."""
    job = replace(child(Stage.TRAIN, suspended=True, suspended_at=at(suspended_at)), **changes)
    return (*snapshot.jobs[:-1], job)


def test_time_in_a_queue_is_no_gpu_time() -> None:
    snapshot = training(waiting_for_peers(runPolicy={"maxGpuHours": 1}), 0)
    jobs = held_back(snapshot, 100)
    snapshot = step(snapshot, 101, jobs=jobs)
    assert snapshot.job.status.stage(Stage.TRAIN).running_since == timestamp(NOW)

    evicted = tuple(
        ended(Stage.TRAIN, index=index, exit_code=85, after=110, scheduled_at=NOW, gone=True) for index in range(2)
    )
    snapshot = step(snapshot, 111, pods=evicted)
    assert snapshot.job.status.state == JobState.QUEUED
    assert snapshot.job.status.stage(Stage.TRAIN).running_since is None
    assert usage(snapshot).gpu_seconds == 110 * GPUS

    for late in (500, 9000):
        snapshot = step(snapshot, late)
        assert (snapshot.job.status.state, usage(snapshot).gpu_seconds) == (JobState.QUEUED, 110 * GPUS)

    admitted = tuple(pod(Stage.TRAIN, index=index, uid=f"new-{index}", scheduled_at=at(9000)) for index in range(2))
    jobs = (*snapshot.jobs[:-1], child(Stage.TRAIN))
    snapshot = step(snapshot, 9001, jobs=jobs, pods=(*evicted, *admitted))
    assert snapshot.job.status.stage(Stage.TRAIN).running_since == timestamp(at(9000))
    snapshot = saved(snapshot, 9050, steps=5, held=60)
    assert usage(snapshot).gpu_seconds == (110 + 50) * GPUS


def test_gpu_hours_are_not_used_up_in_a_queue_while_the_operator_is_away() -> None:
    snapshot = training(waiting_for_peers(runPolicy={"maxGpuHours": 1}), 0)
    snapshot = step(snapshot, 9000, jobs=held_back(snapshot, 100), pods=())

    assert snapshot.job.status.state == JobState.QUEUED
    assert usage(snapshot).gpu_seconds == 100 * GPUS


def test_a_job_that_waits_in_its_queue_again_and_is_deleted_there_held_nothing_there() -> None:
    snapshot = training(waiting_for_peers(), 0)
    evicted = tuple(
        ended(Stage.TRAIN, index=index, exit_code=85, after=100, scheduled_at=NOW, gone=True) for index in range(2)
    )
    snapshot = step(snapshot, 101, jobs=held_back(snapshot, 100), pods=evicted)
    snapshot = step(snapshot, 5000, jobs=held_back(snapshot, 100, failed=True, finished_at=at(4999)))

    assert snapshot.job.status.stage(Stage.TRAIN).running_since is None
    assert usage(snapshot).gpu_seconds == 100 * GPUS


def test_an_attempt_that_began_and_ended_while_the_operator_was_away_is_counted() -> None:
    snapshot = replace(waiting_for_peers(), pods=(pod(Stage.TRAIN, phase="Pending", running=False),))
    waiting = snapshot.job.status.stage(Stage.TRAIN)
    stages = tuple(
        evolve(waiting, running_since=None) if item == waiting else item for item in snapshot.job.status.stages
    )
    status = snapshot.job.status.model_copy(update={"stages": stages, "usage": None})
    snapshot = replace(snapshot, job=snapshot.job.model_copy(update={"status": status}))
    pods = tuple(ended(Stage.TRAIN, index=index, exit_code=1, after=700, scheduled_at=at(100)) for index in range(2))
    failed = child(Stage.TRAIN, failed=True, finished_at=at(700))
    snapshot = step(snapshot, 9000, jobs=(*snapshot.jobs[:-1], failed), pods=pods)

    assert seconds(snapshot) == (600, 0, 0, 0)


def test_a_finished_evaluation_is_productive_and_a_failed_one_is_lost() -> None:
    job = fine_tune_job(compute={"gpusPerPod": 8}, runPolicy={"maxRestarts": 1})
    snapshot = replace(until_stage(Stage.EVALUATE, world(job)), pods=(pod(Stage.EVALUATE, scheduled_at=NOW),))
    running = step(snapshot, 0)
    done = child(Stage.EVALUATE, complete=True, finished_at=at(50))
    assert seconds(step(running, 51, jobs=(*running.jobs[:-1], done)))[:3] == (50, 50, 0)

    failed = child(Stage.EVALUATE, failed=True, finished_at=at(50))
    again = step(running, 51, jobs=(*running.jobs[:-1], failed), pods=(ended(Stage.EVALUATE, exit_code=1),))
    assert seconds(step(again, 99)) == (50, 0, 50, 0)


def test_what_a_failed_job_did_not_save_is_lost() -> None:
    snapshot = saved(training(waiting_for_peers(runPolicy={"maxRestarts": 0}), 0), 60, steps=3, held=50)
    snapshot = fail(snapshot, 100)

    assert snapshot.job.status.state == JobState.FAILED
    assert seconds(snapshot) == (100 + 2, 50, 52, 0)


def test_the_cost_so_far_and_in_all() -> None:
    snapshot = priced(training(waiting_for_peers(), 0), {"gpuPricePerHour": "2.50", "currency": "EUR"})
    snapshot = saved(snapshot, 1800, steps=20, held=1700, eta=1800)
    found = usage(snapshot)
    assert (found.cost, found.expected_cost, found.currency) == ("10.00", "20.00", "EUR")

    found = usage(succeed(snapshot, 3600, trained=3500))
    assert (found.cost, found.expected_cost) == ("20.00", None)


def test_without_a_price_there_is_no_cost_and_no_currency() -> None:
    found = usage(saved(training(waiting_for_peers(), 0), 60, steps=3, held=50, eta=60))

    assert (found.cost, found.expected_cost, found.currency) == (None, None, None)


def test_time_alone_is_no_reason_to_write() -> None:
    snapshot = training(waiting_for_peers(), 100)
    plan: Plan = reconcile(snapshot, at(3600))

    assert plan.status == snapshot.job.status


def test_a_status_of_an_older_operator_is_counted_from_where_it_stands() -> None:
    snapshot = training(waiting_for_peers(), 100)
    old: FineTuneJobStatus = snapshot.job.status.model_copy(update={"usage": UsageStatus(gpu_seconds=8)})
    snapshot = replace(snapshot, job=snapshot.job.model_copy(update={"status": old}))

    assert seconds(fail(snapshot, 200))[0] == 1 + 200
