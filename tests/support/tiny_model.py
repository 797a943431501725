"""A random Llama of 0.6 million parameters with a ChatML tokenizer: small enough to train in seconds, shaped like a
real model.

As in SmolLM2, padding and end of turn are the same token, and the chat template has no generation marks.
"""

from __future__ import annotations

import random
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCABULARY = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "these",
    "so",
    "some",
    "her",
    "would",
    "make",
    "like",
    "him",
    "into",
    "time",
    "has",
    "look",
    "two",
    "more",
    "write",
    "go",
    "see",
    "number",
    "no",
    "way",
    "could",
    "people",
    "my",
    "than",
    "first",
    "water",
    "been",
    "call",
    "who",
    "its",
    "now",
    "find",
    "long",
    "down",
    "day",
    "did",
    "get",
    "come",
    "made",
    "may",
    "part",
    "notice",
    "period",
    "leave",
    "consultant",
    "days",
    "senior",
]


def build_tiny_model(
    folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, dropout: float = 0.0, layers: int = 2
) -> Path:
    """Write model and tokenizer into `folder` unless they are there already; return it. Always the same weights."""
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = _write_tokenizer(folder, chat_template)
        _write_model(folder, vocabulary, dropout, layers)
    return folder


def build_wide_model(folder: Path) -> Path:
    """A Llama of 50 million parameters without a chat template: its tensors are larger than the libraries."""
    _write_tokenizer(folder, None)
    _write_llama(
        folder,
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=6,
        num_attention_heads=8,
        tie_word_embeddings=False,
    )
    return folder


def build_tiny_tokenizer(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write only the tokenizer; needs no torch."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, chat_template)
    return folder


def _write_tokenizer(folder: Path, chat_template: str | None) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    shuffle = random.Random(0)
    corpus = [" ".join(shuffle.choices(VOCABULARY, k=12)) + "." for _ in range(500)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=2048,
    )
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
    return len(fast)


def _write_model(folder: Path, vocabulary: int, dropout: float, layers: int) -> None:
    _write_llama(
        folder,
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=layers,
        num_attention_heads=4,
        attention_dropout=dropout,
        tie_word_embeddings=True,
    )


def _write_llama(folder: Path, **sizes: float) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_key_value_heads=int(sizes["num_attention_heads"]) // 2,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
