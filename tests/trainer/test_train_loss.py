"""Logits only where a token has to be predicted: the same loss and gradients as with all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from support.training import ragged_rows, write_rows
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.rows import Batch, RowTable, collate


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    write_rows(tmp_path / "rows.arrow", ragged_rows(4))
    return collate(RowTable.open(tmp_path / "rows.arrow"), [0, 1, 2, 3])


def load(path: Path, *, lora: bool) -> Any:
    model = AutoModelForCausalLM.from_pretrained(path)
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return model


def plain_loss(model: Any, batch: Batch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), batch.targets.reshape(-1), ignore_index=-100, reduction="sum"
    )


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True])
def test_loss_and_gradients_are_those_of_all_logits(tiny_model: Path, batch: Batch, lora: bool) -> None:
    model = load(tiny_model, lora=lora)
    expected = plain_loss(model, batch)
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()
    loss = SupervisedLoss(model)(model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert gradients(model).keys() == wanted.keys()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-4, rtol=1e-4)


def test_the_output_layer_sees_only_supervised_positions(tiny_model: Path, batch: Batch) -> None:
    model = load(tiny_model, lora=False)
    loss = SupervisedLoss(model)
    seen: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    loss(model, batch)
    model(input_ids=batch.input_ids)
    assert seen == [(batch.supervised, model.config.vocab_size), (*batch.input_ids.shape, model.config.vocab_size)]


def test_a_model_that_hides_its_output_layer(tiny_model: Path, batch: Batch) -> None:
    model = load(tiny_model, lora=False)
    expected = plain_loss(model, batch).item()
    model.get_output_embeddings = lambda: None
    loss = SupervisedLoss(model)(model, batch)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_targets_gives_zero_and_gradients(tiny_model: Path, batch: Batch) -> None:
    model = load(tiny_model, lora=True)
    nothing = torch.full_like(batch.targets, -100)
    loss = SupervisedLoss(model)(model, dataclasses.replace(batch, targets=nothing))
    loss.backward()
    assert loss.item() == 0
    assert gradients(model)
    assert all(not gradient.any() for gradient in gradients(model).values())
