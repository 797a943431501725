"""A training that runs out of memory is tried again with less of it, a few times, and the rows of a step stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.worlds import NOW, child, ended, fine_tune_job, job_manifest, until_stage, with_status, world
from vernacular.api import FailureCode, JobState, Reason, Stage
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.policies.repair import smaller
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import PodFacts, Snapshot
from vernacular_trainer.contract import JOB_ANNOTATION, JobConfig, Outcome, RepairConfig, StageReport

GPU = StageReport(Outcome.INTERNAL, code="GpuOutOfMemory", message="the GPU has not enough memory")


def out_of_memory(attempt: int) -> PodFacts:
    return ended(Stage.TRAIN, attempt, exit_code=203, report=GPU)


def fail(snapshot: Snapshot, attempt: int, pod: PodFacts) -> tuple[Snapshot, Plan]:
    jobs = (*snapshot.jobs[:-1], child(Stage.TRAIN, attempt, failed=True, finished_at=NOW))
    snapshot = replace(snapshot, jobs=jobs, pods=(pod,))
    return snapshot, reconcile(snapshot, NOW)


def go_on(snapshot: Snapshot, plan: Plan, attempt: int) -> tuple[Snapshot, JobConfig]:
    plan = reconcile(with_status(snapshot, plan), NOW)
    annotations = job_manifest(plan)["spec"]["template"]["metadata"]["annotations"]
    following = with_status(snapshot, plan, jobs=(*snapshot.jobs, child(Stage.TRAIN, attempt)))
    return following, JobConfig.from_json(annotations[JOB_ANNOTATION])


def settings(plan: Plan) -> dict[str, str]:
    assert plan.status.plan is not None
    return {item.name: item.value for item in plan.status.plan.values}


def test_gradient_checkpointing_that_is_not_wanted_stays_off() -> None:
    job = fine_tune_job(training={"gradientCheckpointing": "Off"})
    _, plan = fail(until_stage(Stage.TRAIN, world(job)), 1, out_of_memory(1))

    assert settings(plan).items() >= {"microBatchSize": "2", "gradientCheckpointing": "Off"}.items()
    assert smaller(RepairConfig(1, 8, gradient_checkpointing=False), checkpointing=False) is None


@pytest.mark.parametrize(
    "pod", [out_of_memory(1), ended(Stage.TRAIN, exit_code=137, reason="OOMKilled")], ids=["GPU", "host"]
)
def test_the_next_attempt_takes_half_the_rows_at_a_time(pod: PodFacts) -> None:
    snapshot, plan = fail(until_stage(Stage.TRAIN, world(fine_tune_job(runPolicy={"maxRestarts": 0}))), 1, pod)

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.repairs) == (0, 1)
    assert plan.status.reason == Reason.REPAIRED
    expected = {"microBatchSize": "2", "accumulation": "4", "gradientCheckpointing": "On"}
    assert settings(plan).items() >= expected.items()
    assert settings(plan)["learningRate"] == "2e-4"
    assert "microBatchSize 4 -> 2" in plan.events[0].message
    _, job = go_on(snapshot, plan, 2)
    assert job.repair == RepairConfig(micro_batch_size=2, accumulation=4, gradient_checkpointing=True)


def test_three_repairs_are_all_that_there_are() -> None:
    snapshot = until_stage(Stage.TRAIN)
    for attempt in (1, 2):
        snapshot, plan = fail(snapshot, attempt, out_of_memory(attempt))
        snapshot, _ = go_on(snapshot, plan, attempt + 1)
    _, plan = fail(snapshot, 3, out_of_memory(3))

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.GPU_OUT_OF_MEMORY
    assert "after 2 repairs" in plan.status.failure.message


def test_whoever_wants_no_repair_gets_none() -> None:
    snapshot = until_stage(Stage.TRAIN, world(fine_tune_job(runPolicy={"onOutOfMemory": "Fail"})))
    _, plan = fail(snapshot, 1, out_of_memory(1))

    assert plan.status.state == JobState.FAILED
    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.repairs) == (0, 0)


def test_a_trainer_of_the_users_own_follows_no_plan_and_is_not_repaired() -> None:
    snapshot = until_stage(Stage.TRAIN, world(fine_tune_job(trainer={"command": ["train"]})))
    _, plan = fail(snapshot, 1, ended(Stage.TRAIN, exit_code=137, reason="OOMKilled"))

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.HOST_OUT_OF_MEMORY
    assert plan.status.usage is not None
    assert plan.status.usage.repairs == 0
    assert settings(plan) == settings_before(snapshot)


def settings_before(snapshot: Snapshot) -> dict[str, str]:
    assert snapshot.job.status.plan is not None
    return {item.name: item.value for item in snapshot.job.status.plan.values}


def test_other_stages_have_nothing_to_repair_and_are_retried() -> None:
    snapshot = until_stage(Stage.EVALUATE)
    jobs = (*snapshot.jobs[:-1], child(Stage.EVALUATE, failed=True, finished_at=NOW))
    plan = reconcile(replace(snapshot, jobs=jobs, pods=(ended(Stage.EVALUATE, exit_code=203, report=GPU),)), NOW)

    assert plan.status.usage is not None
    assert (plan.status.usage.restarts, plan.status.usage.repairs) == (1, 0)


@given(st.integers(1, 256), st.integers(1, 64), st.booleans())
def test_every_repair_needs_less_and_keeps_the_rows_of_a_step(micro: int, accumulation: int, on: bool) -> None:
    now = RepairConfig(micro, accumulation, on)
    found = smaller(now)

    if micro == 1 and on:
        assert found is None
    else:
        assert found is not None
        assert found.micro_batch_size * found.accumulation == micro * accumulation
        assert found.micro_batch_size <= max(1, micro // 2)
        assert found.gradient_checkpointing
