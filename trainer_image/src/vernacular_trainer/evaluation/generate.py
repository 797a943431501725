"""Answers of a model to many prompts: greedy, in batches of similar length, stopped at the end of the turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vernacular_trainer.evaluation.batches import batches

# room for the shortest and for the longest answers
MIN_NEW_TOKENS = 64
MAX_NEW_TOKENS = 512
BATCH_SIZE = {"cpu": 32, "cuda": 64}
# keys and values of so many tokens are held at once
BATCH_TOKENS = {"cpu": 16_384, "cuda": 65_536}


def room_for(expected: Sequence[int]) -> int:
    """How many tokens an answer may have when the expected ones have so many: half as many again."""
    return min(MAX_NEW_TOKENS, max(MIN_NEW_TOKENS, max(expected, default=0) * 3 // 2))


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], ends: Sequence[int], room: int = MIN_NEW_TOKENS
) -> list[str]:
    """Answer every prompt (token ids) greedily with at most `room` tokens, in the order of the prompts."""
    from transformers import GenerationConfig

    # sampling and penalties that a model's own settings ask for would make base and tuned incomparable
    model.generation_config = GenerationConfig(
        max_new_tokens=room, do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0]
    )
    model.eval()
    answers: dict[int, str] = {}
    device, lengths = model.device.type, [len(prompt) + room for prompt in prompts]
    for batch in batches(lengths, BATCH_TOKENS[device], BATCH_SIZE[device]):
        texts = _answer_batch(model, tokenizer, [prompts[index] for index in batch], set(ends))
        answers.update(zip(batch, texts, strict=True))
    return [answers[index] for index in range(len(prompts))]


def _answer_batch(model: Any, tokenizer: Any, prompts: list[Sequence[int]], ends: set[int]) -> list[str]:
    width = max(len(prompt) for prompt in prompts)
    # the padding token does not matter: the mask hides it
    padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.inference_mode():
        output = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
        )
    return [_text(tokenizer, row, ends) for row in output[:, width:].tolist()]


def _text(tokenizer: Any, ids: list[int], ends: set[int]) -> str:
    length = next((position for position, token in enumerate(ids) if token in ends), len(ids))
    text: str = tokenizer.decode(ids[:length], skip_special_tokens=True)
    return text.strip()
