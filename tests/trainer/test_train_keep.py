"""The best step's weights as the result, and an end when nothing gets better."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.ranks import RankGroup
from support.training import Finished, TrainingJob
from vernacular_trainer.contract import Outcome

pytestmark = pytest.mark.slow

Train = Callable[..., Finished]
Start = Callable[..., RankGroup]
MakeJob = Callable[..., TrainingJob]

# random rows, a few of them over and over: what is learnt of them soon makes others less likely
OVERFIT = {
    "total_steps": 14,
    "evaluate_every_steps": 2,
    "checkpoint_every_steps": 5,
    "learning_rate": 3e-2,
    "scheduler": "Constant",
}
SHAPES = {
    "lora-alone": {},
    "lora-zero3": {"world_size": 2, "micro_batch_size": 4, "strategy": "ZeRO3"},
    "full-ddp": {"method": "Full", "world_size": 2, "micro_batch_size": 4, "learning_rate": 3e-3},
}


def best_of(losses: dict[int, float]) -> int:
    return min(losses, key=lambda step: losses[step])


def result_bytes(job: TrainingJob) -> bytes:
    (path,) = job.workspace.result.rglob("*.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_result_is_the_step_with_the_lowest_loss(job: MakeJob, train: Train, shape: str) -> None:
    changes = OVERFIT | SHAPES[shape]
    made = job("best", keep="Best", **changes)
    finished = train(made)
    assert finished.report.outcome is Outcome.DONE, finished.log
    losses = made.metric("eval/loss")
    best = best_of(losses)
    assert 0 < best < 14
    assert (finished.summary.step, finished.summary.result_step) == (14, best)
    assert float(finished.summary.eval_loss) == pytest.approx(losses[best], rel=1e-5)

    # a training that ends there has the same weights, because the rate stays constant
    last = job("last", **changes | {"total_steps": best})
    train(last)
    assert result_bytes(made) == result_bytes(last)


def test_a_training_that_gets_no_better_ends_early(job: MakeJob, train: Train) -> None:
    made = job("early", keep="Best", patience=2, **OVERFIT | {"total_steps": 60})
    finished = train(made)
    assert finished.report.outcome is Outcome.DONE, finished.log
    best = best_of(made.metric("eval/loss"))
    # two evaluations, two steps apart, after the best
    assert (finished.summary.step, finished.summary.result_step) == (best + 4, best)
    assert finished.summary.stopped_early
    assert max(made.metric("train/loss")) == best + 4
    last = job("last", patience=2, **OVERFIT | {"total_steps": 60})
    assert train(last).summary.result_step == best + 4


def test_the_best_step_outlives_an_interruption(job: MakeJob, train: Train, start: Start) -> None:
    changes = OVERFIT | SHAPES["lora-zero3"] | {"keep": "Best", "total_steps": 24, "patience": 20}
    straight = job("straight", **changes)
    whole = train(straight)
    best = whole.summary.result_step
    broken = job("broken", **changes)
    group = start(broken)
    group.terminate_after_step(rank=0, step=best + 2)
    stopped = group.wait()
    assert best < stopped.summary.step < 24, stopped.log
    assert stopped.summary.result_step == 0

    finished = train(broken, attempt=2)

    assert finished.summary.resumed_from_step == stopped.summary.step
    assert finished.summary.result_step == best
    assert finished.summary.eval_loss == whole.summary.eval_loss
    assert result_bytes(broken) == result_bytes(straight)
