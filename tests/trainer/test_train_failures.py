"""What can go wrong in training, and how it is said."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from support.training import Finished, TrainingJob, plan, ragged_rows
from vernacular_trainer.contract import ContractError, ExitCode, StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.model.base import add_adapter, load_base
from vernacular_trainer.training.arguments import training_arguments
from vernacular_trainer.training.plan_file import load_plan

Train = Callable[..., Finished]
MakeJob = Callable[..., TrainingJob]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"world_size": 2, "micro_batch_size": 4, "strategy": "ZeRO2"}])
def test_a_loss_that_is_not_finite_ends_the_training(job: MakeJob, train: Train, changes: dict[str, object]) -> None:
    made = job(
        learning_rate=1e30, warmup_steps=0, max_grad_norm=1e9, checkpoint_every_steps=1, total_steps=8, **changes
    )
    finished = train(made)
    assert (finished.exit_code, finished.report.code) == (ExitCode.INTERNAL, "NonFiniteLoss"), finished.log
    assert "learningRate" in finished.report.advice
    assert not list(made.workspace.result.rglob("*.safetensors"))
    for path in made.workspace.checkpoints.rglob("*.safetensors"):
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(path).values()), path


@pytest.mark.slow
def test_an_unexpected_failure_does_not_quote_rows(job: MakeJob, train: Train) -> None:
    made = job()
    beyond_the_vocabulary = 123456
    rows = ragged_rows(8)
    rows[0][0][0] = beyond_the_vocabulary
    made.prepare(train=rows)
    finished = train(made)
    assert (finished.exit_code, finished.report.code) == (ExitCode.INTERNAL, "InternalError"), finished.log
    assert "training/" in finished.report.evidence
    assert str(beyond_the_vocabulary) not in finished.report.to_json()


def test_a_plan_for_another_number_of_processes(job: MakeJob) -> None:
    made = job(world_size=2)
    with pytest.raises(StageError) as caught:
        load_plan(made.workspace.plan, made.config(processes_per_pod=1))
    assert caught.value.code is StageFailure.WORLD_SIZE_MISMATCH
    assert "2 processes" in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"rank": "8"}, "rank"),
        ({"seed": "x"}, "plan.seed"),
        ({"micro_batch_size": 1}, "1 rows fit into a step"),
    ],
)
def test_a_plan_that_does_not_hold_together(job: MakeJob, change: dict[str, object], message: str) -> None:
    made = job()
    made.workspace.plan.write_text(json.dumps(dataclasses.asdict(made.plan) | change))
    with pytest.raises(ContractError, match=message):
        load_plan(made.workspace.plan, made.config())


def test_half_precision_floats_need_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        training_arguments(plan(precision="FP16"), tmp_path, torch.device("cpu"))
    assert (caught.value.code, caught.value.outcome) == (StageFailure.ARGUMENT_REFUSED, "UserError")
    assert "BF16" in caught.value.advice


def test_target_modules_that_the_model_does_not_have(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with pytest.raises(StageError) as caught:
        add_adapter(model, plan(lora_target_modules=("query_key_value",)))
    assert caught.value.code is StageFailure.ARGUMENT_REFUSED
    assert "query_key_value" in caught.value.message
    for layer in ("q_proj", "down_proj"):
        assert layer in caught.value.advice
    assert "lm_head" not in caught.value.advice


def test_named_target_modules_are_the_ones_that_train(tiny_model: Path) -> None:
    model = add_adapter(
        AutoModelForCausalLM.from_pretrained(tiny_model), plan(lora_target_modules=("q_proj", "v_proj"))
    )
    trained = {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"q_proj", "v_proj"}


@pytest.mark.parametrize("damage", ["no weights", "no config", "unknown type", "own code"])
def test_a_model_that_cannot_be_loaded(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    match damage:
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "no config":
            (folder / "config.json").unlink()
        case "unknown type":
            (folder / "config.json").write_text(json.dumps(config | {"model_type": "of-my-own"}))
        case "own code":
            own = {"model_type": "of-my-own", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}}
            (folder / "config.json").write_text(json.dumps(config | own))
    with pytest.raises(StageError) as caught:
        load_base(folder, torch.float32)
    assert caught.value.code is StageFailure.MODEL_UNSUPPORTED
    assert str(folder) not in caught.value.message
