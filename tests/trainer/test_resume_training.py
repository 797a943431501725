"""An interrupted training equals one that was never interrupted, to the last bit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from support.ranks import RankGroup
from support.training import Finished, TrainingJob
from vernacular_trainer.contract import ExitCode, Outcome, RepairConfig
from vernacular_trainer.training.checkpoints import MARK

pytestmark = pytest.mark.slow

Train = Callable[..., Finished]
Start = Callable[..., RankGroup]
MakeJob = Callable[..., TrainingJob]

SHAPES = {
    "lora-ddp": {"world_size": 2, "micro_batch_size": 2, "accumulation": 2, "lora_dropout": 0.2},
    "lora-zero2": {"world_size": 2, "micro_batch_size": 4, "lora_dropout": 0.2, "strategy": "ZeRO2"},
    "lora-zero3": {"world_size": 2, "micro_batch_size": 4, "lora_dropout": 0.2, "strategy": "ZeRO3"},
    "dora-zero1": {"world_size": 2, "micro_batch_size": 4, "lora_variant": "DoRA", "strategy": "ZeRO1"},
    "qlora-zero2": {"method": "QLoRA", "world_size": 2, "micro_batch_size": 4, "strategy": "ZeRO2"},
    "full-zero3-offloaded": {
        "method": "Full",
        "world_size": 2,
        "micro_batch_size": 4,
        "strategy": "ZeRO3",
        "offload": "OptimizerAndParameters",
    },
    "full-alone": {"method": "Full"},
    "full-zero2": {"method": "Full", "world_size": 2, "micro_batch_size": 4, "strategy": "ZeRO2"},
}


def weights(job: TrainingJob) -> bytes:
    (path,) = job.workspace.result.rglob("*.safetensors")
    return path.read_bytes()


def checkpoint_size(job: TrainingJob) -> int:
    files = job.workspace.attempt(1).rglob("*")
    return sum(path.stat().st_size for path in files if path.suffix in {".safetensors", ".pt"})


def losses(job: TrainingJob) -> dict[int, float]:
    return job.metric("train/loss")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_training_goes_on_as_if_nothing_had_happened(job: MakeJob, train: Train, start: Start, shape: str) -> None:
    changes = {"total_steps": 24, "keep_checkpoints": 1} | SHAPES[shape]
    straight = job("straight", **changes)
    whole = train(straight).summary

    broken = job("broken", **changes)
    group = start(broken)
    # the last rank alone is asked: the others must follow
    group.terminate_after_step(rank=broken.plan.world_size - 1, step=5)
    stopped = group.wait()
    assert (stopped.exit_code, stopped.report.outcome) == (ExitCode.PREEMPTED, Outcome.PREEMPTED), stopped.log
    assert 5 <= stopped.summary.step < 24
    assert stopped.summary.checkpoint_step == stopped.summary.step
    assert stopped.summary.complete_checkpoints == 1
    assert not list(broken.workspace.result.glob("*"))
    if broken.plan.makes_adapter:
        # the frozen base is left out
        assert checkpoint_size(broken) < (broken.model / "model.safetensors").stat().st_size / 2

    finished = train(broken, attempt=2)
    assert finished.report.outcome is Outcome.DONE, finished.log
    assert finished.summary.resumed_from_step == stopped.summary.step
    assert losses(broken) == losses(straight)
    assert weights(broken) == weights(straight)
    same = ("step", "loss", "eval_loss", "tokens")
    assert [getattr(finished.summary, name) for name in same] == [getattr(whole, name) for name in same]


@pytest.mark.parametrize("shape", ["lora-ddp", "lora-zero2", "full-alone"])
def test_a_repaired_training_goes_on_with_the_same_losses_in_smaller_portions(
    job: MakeJob, train: Train, start: Start, shape: str
) -> None:
    changes = {"total_steps": 8} | SHAPES[shape] | {"lora_dropout": 0.0}
    straight = job("straight", **changes)
    train(straight)
    broken = job("broken", **changes)
    group = start(broken)
    group.terminate_after_step(rank=0, step=3)
    stopped = group.wait()

    micro, accumulation = broken.plan.micro_batch_size // 2, broken.plan.accumulation * 2
    repaired = dataclasses.replace(broken, repairs={2: RepairConfig(micro, accumulation, gradient_checkpointing=True)})
    finished = train(repaired, attempt=2)

    assert finished.report.outcome is Outcome.DONE, finished.log
    assert finished.summary.resumed_from_step == stopped.summary.step >= 3
    assert losses(broken) == pytest.approx(losses(straight), abs=1e-4)
    assert "gradient checkpointing on" in finished.log


def test_a_repair_that_changes_the_rows_of_a_step_is_refused(job: MakeJob, train: Train) -> None:
    made = dataclasses.replace(job(), repairs={1: RepairConfig(4, 3, gradient_checkpointing=True)})
    finished = train(made)

    assert finished.report.outcome is Outcome.INTERNAL
    assert "4 x 3 rows are not the 8 x 1 of the plan" in finished.log


def test_the_newest_usable_checkpoint_counts(job: MakeJob, train: Train) -> None:
    made = job(total_steps=6, checkpoint_every_steps=2)
    first = train(made)
    assert (first.summary.checkpoint_step, first.summary.complete_checkpoints) == (4, 2)
    expected = weights(made)
    folder = made.workspace.attempt(1)
    shard = folder / "checkpoint-4" / "optimizer.pt"
    shard.write_bytes(shard.read_bytes()[:-1])

    second = train(made, attempt=2)
    assert second.summary.resumed_from_step == 2
    assert "checkpoint-4 is incomplete or damaged" in second.log
    assert weights(made) == expected

    for mark in made.workspace.checkpoints.rglob(MARK):
        mark.unlink()
    third = train(made, attempt=3)
    assert third.summary.resumed_from_step == 0
    assert "resuming from step 0" in third.log
    assert weights(made) == expected


def test_a_checkpoint_at_the_goal_needs_only_the_result(job: MakeJob, train: Train) -> None:
    made = job(total_steps=9, checkpoint_every_steps=4)
    train(made)
    shorter = dataclasses.replace(made.plan, total_steps=8)
    made.workspace.plan.write_text(json.dumps(dataclasses.asdict(shorter)))
    finished = train(made, attempt=2)
    assert (finished.report.outcome, finished.summary.step) == (Outcome.DONE, 8), finished.log
    assert finished.summary.resumed_from_step == 8


def test_a_checkpoint_of_another_shape_is_refused(job: MakeJob, train: Train) -> None:
    made = job(total_steps=3, checkpoint_every_steps=2)
    train(made)
    other = TrainingJob(made.folder, made.model, dataclasses.replace(made.plan, lora_rank=8))
    other.workspace.plan.write_text(json.dumps(dataclasses.asdict(other.plan)))
    finished = train(other, attempt=2)
    assert (finished.exit_code, finished.report.code) == (ExitCode.USER_ERROR, "CheckpointIncompatible"), finished.log
