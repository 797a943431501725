"""The loss without all logits, and packed rows without padding: the same losses and gradients as plainly computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GptOssConfig,
    GraniteConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

from support.training import ragged_rows, write_rows
from vernacular_trainer.memory import LOGIT_CHUNK
from vernacular_trainer.model.base import unwrapped
from vernacular_trainer.training.attention import PACKED
from vernacular_trainer.training.cross_entropy import linear_cross_entropy
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.packing import attend_packed, keeps_apart
from vernacular_trainer.training.rows import Batch, Row, RowTable, pack, pad


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    write_rows(tmp_path / "rows.arrow", ragged_rows(4))
    return RowTable.open(tmp_path / "rows.arrow").batch([0, 1, 2, 3])


def as_row(row: tuple[list[int], list[int]]) -> Row:
    tokens, labels = row
    return np.array(tokens, dtype=np.int32), np.array(labels, dtype=np.int32)


def load(path: Path, *, lora: bool) -> Any:
    model = AutoModelForCausalLM.from_pretrained(path)
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return model


def plain_loss(model: Any, batch: Batch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.real().long()).logits
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


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_of_logits_are_all_logits(monkeypatch: pytest.MonkeyPatch, trained: bool, dtype: torch.dtype) -> None:
    monkeypatch.setitem(LOGIT_CHUNK, "cpu", 7 * 500 * 4)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 500, bias=True).requires_grad_(trained)
    hidden, targets = torch.randn(40, 16, requires_grad=True), torch.randint(0, 500, (40,))
    factors = torch.rand(40)

    def computed(cross_entropy: Any) -> list[torch.Tensor]:
        for tensor in (hidden, head.weight, head.bias):
            tensor.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            losses = cross_entropy()
        (losses * factors).sum().backward()
        return [losses, *(tensor.grad for tensor in (hidden, head.weight, head.bias) if tensor.grad is not None)]

    plain = computed(lambda: torch.nn.functional.cross_entropy(head(hidden).float(), targets, reduction="none"))
    chunked = computed(lambda: linear_cross_entropy(hidden, head, targets))

    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    assert len(plain) == len(chunked) == (4 if trained else 2)
    for found, expected in zip(chunked, plain, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_the_output_layer_gives_no_logits_in_training(tiny_model: Path, batch: Batch) -> None:
    model = load(tiny_model, lora=False)
    loss = SupervisedLoss(model)
    seen: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    loss(model, batch)
    model(input_ids=batch.input_ids)
    assert seen == [(batch.supervised,), (*batch.input_ids.shape, model.config.vocab_size)]


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SMALL |= {"vocab_size": 512, "head_dim": 8, "num_key_value_heads": 2}
KINDS = {
    "grouped queries": LlamaConfig(**SMALL),
    "untied": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "sliding window": MistralConfig(**SMALL, sliding_window=64),
    "window and full": Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=64, max_window_layers=1),
    "scaled logits": GraniteConfig(**SMALL, logits_scaling=4.0),
    "learnt positions": GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=512, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    ),
    "experts": Qwen3MoeConfig(**SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_have_the_losses_and_gradients_of_rows_alone(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind])
    rows = [as_row(row) for row in sorted(ragged_rows(6), key=lambda row: -len(row[0]))]
    alone = [plain_loss(model, pad([row])) for row in rows]
    torch.stack(alone).sum().backward()
    wanted = gradients(model)
    model.zero_grad()
    loss = SupervisedLoss(model)
    assert attend_packed(model)

    packed = loss.per_token(model, pack(rows))
    packed.sum().backward()

    counts = [pad([row]).supervised for row in rows]
    for found, expected in zip(packed.split(counts), alone, strict=True):
        assert found.sum().item() == pytest.approx(expected.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-4, rtol=1e-4)
    assert keeps_apart(model, model, loss, "FP32", lambda batch: batch)
    assert model.config._attn_implementation == "sdpa"


def test_a_packed_row_does_not_see_the_others(tiny_model: Path) -> None:
    model = load(tiny_model, lora=True)
    loss = SupervisedLoss(model)
    assert attend_packed(unwrapped(model))
    first, second, third = (as_row(row) for row in ragged_rows(3))
    changed = as_row(ragged_rows(1, seed=5, shortest=len(first[0]), longest=len(first[0]))[0])

    before = loss.per_token(model, pack([first, second, third]))
    after = loss.per_token(model, pack([changed, second, third]))

    others = pad([second, third]).supervised
    torch.testing.assert_close(after[-others:], before[-others:], atol=1e-6, rtol=0)


def test_what_is_trained_packed_is_saved_as_an_ordinary_model(tmp_path: Path, tiny_model: Path) -> None:
    model = load(tiny_model, lora=False)
    attend_packed(model)
    model.save_pretrained(tmp_path)
    assert PACKED not in (tmp_path / "config.json").read_text()
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def tried(config: Any) -> bool:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    if not attend_packed(model):
        return False
    return keeps_apart(model, model, SupervisedLoss(model), "FP32", lambda batch: batch)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]), id="convolution"),
        pytest.param(
            GptOssConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2, sliding_window=64), id="attention sinks"
        ),
        pytest.param(BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=512), id="own attention"),
    ],
)
def test_a_model_that_mixes_packed_rows_is_found_to(config: Any) -> None:
    assert not tried(config)


def test_an_output_layer_with_an_adapter_gives_logits_of_supervised_positions(tiny_model: Path, batch: Batch) -> None:
    torch.manual_seed(0)
    adapter = LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    expected = plain_loss(model, batch).item()
    loss = SupervisedLoss(model)
    seen: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-6)
    assert seen == [(batch.supervised, model.config.vocab_size)]


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
