"""The model and the rows that all are measured with: a random Llama of 11 million parameters with a vocabulary of
32,000, and 512 rows of very unequal length, as chats have. Every token is trained.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 32_000
ROWS, HELD_OUT = 512, 64
# words are drawn from so many, the frequent ones far more often, so that there is something to learn
_WORDS = 2_000
_END = "<end>"


@dataclass(frozen=True)
class Workload:
    """Files of one workload: the base model, rows as token numbers, and the same as questions and answers in words."""

    model: Path
    rows: Path
    held_out: Path
    texts: Path
    tokens: int


def make(folder: Path) -> Workload:
    """Write everything into a folder; always the same."""
    source = random.Random(3)
    train, held_out = ([_row(source) for _ in range(count)] for count in (ROWS, HELD_OUT))
    _write_model(folder / "model")
    _write_numbers(folder / "train.json", train)
    _write_numbers(folder / "held-out.json", held_out)
    texts = [{"instruction": _words(row[:10]), "input": "", "output": _words(row[10:])} for row in train]
    (folder / "train.alpaca.json").write_text(json.dumps(texts))
    return Workload(
        model=folder / "model",
        rows=folder / "train.json",
        held_out=folder / "held-out.json",
        texts=folder / "train.alpaca.json",
        tokens=sum(len(row) for row in train),
    )


def _row(source: random.Random) -> list[int]:
    """Tokens of one row, its end included: many rows are short, few are long."""
    length = source.randint(20, 45) + min(400, int(source.lognormvariate(3.4, 0.9)) + 4)
    return [1 + min(_WORDS - 1, int(source.paretovariate(0.7))) for _ in range(length)] + [0]


def _words(tokens: list[int]) -> str:
    return " ".join(f"w{token}" for token in tokens if token)


def _write_numbers(path: Path, rows: list[list[int]]) -> None:
    path.write_text(json.dumps(rows))


def _write_model(folder: Path) -> None:
    words = {_END: 0} | {f"w{number}": number for number in range(1, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=_END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_END).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=672,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def flops_per_token() -> float:
    """Multiplications and additions of a trained token: two per weight forward and two for the gradient of the input,
    since the base is frozen; adapter and attention, a few percent, left out.
    """
    attention = 256 * (256 + 128 + 128 + 256)
    mlp = 3 * 256 * 672
    return 4.0 * (4 * (attention + mlp) + 256 * VOCABULARY)
