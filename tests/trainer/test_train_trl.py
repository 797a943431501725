"""Twenty steps have the losses of TRL's trainers over the same rows: another implementation, made by others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.environments import interpreter
from support.training import Finished, TrainingJob, plan, ragged_rows
from vernacular_trainer.contract import Outcome
from vernacular_trainer.plan import ResolvedPlan
from vernacular_trainer.training.order import StepOrder

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROGRAM = Path(__file__).resolve().parents[2] / "bench/trainer/peers/trl_losses.py"
STEPS = 20
Row = tuple[list[int], list[int]]


@pytest.mark.parametrize("objective", ["SFT", "DPO"])
@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_every_step_has_the_loss_of_trl(
    tmp_path: Path, tiny_model: Path, train: Callable[..., Finished], method: str, objective: str
) -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-2 if method == "LoRA" else 1e-3}
    settings |= {"beta": 0.1} if objective == "DPO" else {}
    job = TrainingJob(
        tmp_path / "job",
        tiny_model,
        plan(method=method, objective=objective, total_steps=STEPS, warmup_steps=2, **settings),
    )
    units = [pair(row, number) for number, row in enumerate(ragged_rows(200))]
    rows = [row for unit in units for row in unit] if objective == "DPO" else [chosen for chosen, _ in units]
    job.prepare(rows, [])

    finished = train(job)

    assert finished.report.outcome is Outcome.DONE, finished.log
    found = list(job.metric("train/loss").values())
    expected = losses_of_trl(tmp_path / "task.json", tiny_model, job.plan, in_order(units, job.plan))
    assert len(found) == len(expected) == STEPS
    assert max(found) - min(found) > 0.01
    assert found == pytest.approx(expected, abs=1e-4)


def pair(row: Row, number: int) -> tuple[Row, Row]:
    """A row, and the same prompt with another answer."""
    tokens, labels = row
    prompt = sum(label == -100 for label in labels)
    (other, _), *_ = ragged_rows(1, seed=1000 + number)
    return row, (tokens[:prompt] + other, [-100] * prompt + other)


def in_order(units: list[tuple[Row, Row]], settings: ResolvedPlan) -> list[tuple[Row, Row]]:
    """The pairs as the training takes them, step by step."""
    compares = settings.compares
    lengths = [max(len(chosen[0]), len(rejected[0]) if compares else 0) for chosen, rejected in units]
    order = StepOrder(np.array(lengths), settings.effective_batch_size, settings.seed, by_length=False)
    return [units[row] for step in range(STEPS) for row in order.rows_of(step)]


def losses_of_trl(path: Path, model: Path, settings: ResolvedPlan, units: list[tuple[Row, Row]]) -> list[float]:
    lora = {"r": settings.lora_rank, "lora_alpha": settings.lora_alpha} if settings.lora_rank else None
    task = {
        "model": str(model),
        "rows": [as_trl(unit, compares=settings.compares) for unit in units],
        "objective": settings.objective,
        "beta": settings.beta,
        "lora": lora,
        "batch_size": settings.effective_batch_size,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_steps,
        "seed": settings.seed,
    }
    path.write_text(json.dumps(task))
    done = subprocess.run((str(interpreter("trl")), str(PROGRAM), str(path)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses: list[float] = json.loads(done.stdout.splitlines()[-1])
    return losses


def as_trl(unit: tuple[Row, Row], *, compares: bool) -> dict[str, list[int]]:
    (tokens, labels), (other, _) = unit
    if not compares:
        return {"input_ids": tokens, "labels": labels}
    prompt = sum(label == -100 for label in labels)
    return {"prompt_ids": tokens[:prompt], "chosen_ids": tokens[prompt:], "rejected_ids": other[prompt:]}
