"""Objective DPO: the loss by hand, the reference, and whole trainings under every strategy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from support.ranks import RankGroup
from support.training import Finished, TrainingJob, plan, write_rows
from vernacular_trainer.contract import Outcome
from vernacular_trainer.errors import StageError
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.preferences import PreferenceLoss, Reference
from vernacular_trainer.training.ranks import Ranks
from vernacular_trainer.training.rows import PairTable, RowTable, likelihoods

Train = Callable[..., Finished]
Start = Callable[..., RankGroup]
ALONE = Ranks(0, 0, 1, torch.device("cpu"))
BETA = 0.3
Row = tuple[list[int], list[int]]


def pairs(count: int, seed: int = 0) -> list[Row]:
    """Pairs of rows with one prompt: chosen answers are made of low tokens, rejected ones of high ones."""
    source = random.Random(seed)
    rows = []
    for _ in range(count):
        prompt = [source.randrange(3, 500) for _ in range(source.randint(2, 12))]
        for low, high in ((3, 60), (400, 500)):
            answer = [source.randrange(low, high) for _ in range(source.randint(2, 14))]
            rows.append((prompt + answer, [-100] * len(prompt) + answer))
    return rows


@pytest.fixture
def table(tmp_path: Path) -> PairTable:
    write_rows(tmp_path / "rows.arrow", pairs(3))
    return PairTable(RowTable.open(tmp_path / "rows.arrow"))


def adapted(path: Path) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path)
    return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


def by_hand(model: Any, tokens: np.ndarray, labels: np.ndarray) -> float:
    """The sum of the log-probabilities of a row's supervised tokens, one after the other, without padding."""
    ids = torch.tensor(tokens[None].astype(np.int64))
    likely = model(input_ids=ids).logits[0].log_softmax(-1)
    return float(sum(likely[t - 1, tokens[t]] for t in range(1, len(tokens)) if labels[t] != -100))


def test_the_loss_is_that_of_the_paper(tiny_model: Path, table: PairTable) -> None:
    model = adapted(tiny_model).eval()
    reference = np.zeros((3, 2))
    expected = 0.0
    right = 0
    for pair in range(3):
        chosen, rejected = table.rows.row(2 * pair), table.rows.row(2 * pair + 1)
        with torch.no_grad(), model.disable_adapter():
            reference[pair] = by_hand(model, *chosen), by_hand(model, *rejected)
        with torch.no_grad():
            ratio = by_hand(model, *chosen) - reference[pair, 0]
            ratio -= by_hand(model, *rejected) - reference[pair, 1]
        expected += math.log1p(math.exp(-BETA * ratio))
        right += ratio > 0
    loss = PreferenceLoss(model, BETA, ALONE)

    found = loss(model, replace(table, reference=reference).batch([0, 1, 2]))

    assert float(found) == pytest.approx(expected, rel=1e-5)
    measured = loss.measured()
    assert measured["reward_accuracy"] == pytest.approx(right / 3)
    assert loss.measured() == {}


def test_pairs_together_are_pairs_alone(tiny_model: Path, table: PairTable) -> None:
    model = adapted(tiny_model).eval()
    loss = PreferenceLoss(model, BETA, ALONE)
    known = replace(table, reference=np.arange(6, dtype=np.float64).reshape(3, 2))

    together = float(loss(model, known.batch([0, 1, 2])))

    assert together == pytest.approx(sum(float(loss(model, known.batch([pair]))) for pair in range(3)), rel=1e-5)
    assert loss.weight(known.batch([0, 1, 2])) == 3


def test_no_pairs_give_zero_and_gradients(tiny_model: Path, table: PairTable) -> None:
    model = adapted(tiny_model)
    loss = PreferenceLoss(model, BETA, ALONE)
    batch = replace(table, reference=np.zeros((3, 2))).batch([])

    found = loss(model, batch)
    found.backward()

    assert float(found) == 0
    assert loss.weight(batch) == 0
    assert loss.measured() == {}
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_a_table_of_pairs(table: PairTable) -> None:
    rows = table.rows
    assert len(table) == 3
    assert table.lengths.tolist() == [max(len(rows.row(2 * i)[0]), len(rows.row(2 * i + 1)[0])) for i in range(3)]
    batch = replace(table, reference=np.array([[1.5, 2], [3, 4], [5, -1e-9]])).batch([2, 0])
    assert batch.input_ids.shape[0] == 4
    assert batch.input_ids[0, : len(rows.row(4)[0])].tolist() == rows.row(4)[0].tolist()
    assert batch.input_ids[3, : len(rows.row(1)[0])].tolist() == rows.row(1)[0].tolist()
    assert batch.reference is not None
    assert likelihoods(batch.reference).tolist() == [[5, -1e-9], [1.5, 2]]
    assert table.batch([0]).reference is None


def dpo(folder: Path, model: Path, **changes: Any) -> TrainingJob:
    """A training over 20 pairs, three of them held out."""
    settings = {"objective": "DPO", "beta": BETA, "learning_rate": 1e-2, "effective_batch_size": 4}
    settings |= {"micro_batch_size": 4, "evaluate_every_steps": 3}
    made = TrainingJob(folder, model, plan(**settings | changes))
    return made.prepare(pairs(20), pairs(3, seed=1))


def test_the_chosen_answers_become_likelier_than_the_rejected_ones(
    tmp_path: Path, tiny_model: Path, train: Train
) -> None:
    job = dpo(tmp_path, tiny_model, total_steps=12)

    finished = train(job)

    assert finished.report.outcome is Outcome.DONE, finished.log
    loss = job.metric("train/loss")
    # nothing is preferred before the first step: -log sigmoid(0)
    assert loss[1] == pytest.approx(math.log(2), abs=1e-5)
    assert job.metric("train/reward_accuracy")[12] == 1.0
    assert job.metric("eval/reward_accuracy")[12] == 1.0
    assert job.metric("eval/loss")[12] < job.metric("eval/loss")[3] < math.log(2)
    assert job.metric("train/reward_margin")[12] > 0


@pytest.mark.parametrize(
    ("method", "strategy"),
    [
        ("LoRA", "DDP"),
        ("LoRA", "ZeRO3"),
        ("Full", "ZeRO2"),
        pytest.param("LoRA", "ZeRO2", marks=pytest.mark.long),
        pytest.param("Full", "DDP", marks=pytest.mark.long),
        pytest.param("Full", "ZeRO3", marks=pytest.mark.long),
    ],
)
def test_two_ranks_train_as_one(tmp_path: Path, tiny_model: Path, method: str, strategy: str, train: Train) -> None:
    rate = {"learning_rate": 1e-3} if method == "Full" else {}
    alone = dpo(tmp_path / "alone", tiny_model, method=method, **rate)
    together = dpo(
        tmp_path / "together", tiny_model, method=method, strategy=strategy, world_size=2, micro_batch_size=2, **rate
    )

    for job in (alone, together):
        finished = train(job)
        assert finished.report.outcome is Outcome.DONE, finished.log

    for name in ("train/loss", "eval/loss", "train/reward_margin"):
        expected, found = alone.metric(name), together.metric(name)
        assert found.keys() == expected.keys()
        assert list(found.values()) == pytest.approx(list(expected.values()), abs=2e-4), name
    references = [np.load(job.workspace.reference(job.workspace.train_rows)) for job in (alone, together)]
    assert np.allclose(*references, atol=1e-3)


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_a_stopped_training_goes_on_against_the_same_reference(
    tmp_path: Path, tiny_model: Path, method: str, train: Train, start: Start
) -> None:
    rate = {"learning_rate": 1e-3} if method == "Full" else {}
    whole = dpo(tmp_path / "whole", tiny_model, method=method, total_steps=40, **rate)
    stopped = dpo(tmp_path / "stopped", tiny_model, method=method, total_steps=40, **rate)
    assert train(whole).report.outcome is Outcome.DONE

    first = start(stopped)
    first.terminate_after_step(0, 4)
    interrupted = first.wait()
    finished = train(stopped, 2)

    assert interrupted.report.outcome is Outcome.PREEMPTED, interrupted.log
    assert finished.report.outcome is Outcome.DONE, finished.log
    assert finished.summary.resumed_from_step > 0
    assert stopped.metric("eval/loss")[40] == whole.metric("eval/loss")[40]


def test_a_lora_training_whose_reference_is_gone_measures_it_again(
    tmp_path: Path, tiny_model: Path, train: Train, start: Start
) -> None:
    job = dpo(tmp_path, tiny_model, total_steps=40)
    path = job.workspace.reference(job.workspace.train_rows)
    first = start(job)
    first.terminate_after_step(0, 6)
    assert first.wait().report.outcome is Outcome.PREEMPTED
    before = np.load(path)
    path.unlink()

    finished = train(job, 2)

    assert finished.report.outcome is Outcome.DONE, finished.log
    # with the adapter on, what was learnt by then would be in it
    assert np.allclose(np.load(path), before, atol=1e-3)


def test_what_was_measured_before_a_stop_is_not_measured_again(tmp_path: Path, tiny_model: Path, train: Train) -> None:
    job = dpo(tmp_path, tiny_model, total_steps=2)
    path = job.workspace.reference(job.workspace.train_rows)
    known = np.full((20, 2), np.nan)
    known[3] = -7.0
    np.save(path, known)

    assert train(job).report.outcome is Outcome.DONE

    found = np.load(path)
    assert np.isfinite(found).all()
    assert found[3].tolist() == [-7.0, -7.0]


def test_an_answer_that_cannot_be_measured_ends_the_training(
    tiny_model: Path, table: PairTable, tmp_path: Path
) -> None:
    model = adapted(tiny_model)
    with torch.no_grad():
        model.get_input_embeddings().weight[5:] = float("nan")
    reference = Reference(model, model, PreferenceLoss(model, BETA, ALONE), ALONE, False, lambda b: b, lambda: None)

    with pytest.raises(StageError, match="infinitely unlikely"):
        reference.attach(table, tmp_path / "train.npy", 2)

    assert not (tmp_path / "train.npy").exists()


def test_a_full_training_whose_reference_is_gone_does_not_go_on(
    tmp_path: Path, tiny_model: Path, train: Train, start: Start
) -> None:
    job = dpo(tmp_path, tiny_model, method="Full", total_steps=40, learning_rate=1e-3)
    first = start(job)
    first.terminate_after_step(0, 2)
    assert first.wait().report.outcome is Outcome.PREEMPTED
    job.workspace.reference(job.workspace.train_rows).unlink()

    finished = train(job, 2)

    assert finished.report.code == "CheckpointIncompatible", finished.log
    assert "train.npy in the workspace" in finished.report.message


def test_supervised_tokens_are_what_other_trainings_divide_by(table: PairTable, tiny_model: Path) -> None:
    batch = table.rows.batch([0, 1])

    assert SupervisedLoss(adapted(tiny_model)).weight(batch) == batch.supervised
