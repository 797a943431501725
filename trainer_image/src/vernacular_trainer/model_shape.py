"""What the memory of a training depends on in a base model, from its files: config.json and the headers of the weights.

Standard library only: it is read where no model is ever loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# the same thing under the names that families of models have for it
_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "kv_heads": ("num_key_value_heads",),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
}
_TIED_BY_DEFAULT = {"gpt2", "gemma", "gemma2", "gemma3", "gemma3_text", "opt", "bloom"}
# Gemma caps its logits, Cohere, Granite and Falcon-H1 scale them
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
_ATTENTION = {"full_attention", "sliding_attention"}
# settings of layers that hand a state from token to token
_STATES = ("mamba_", "ssm_", "linear_", "conv_", "state_size", "attn_logit_softcapping")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_positions", "lm_head", "embed_out", "output")


@dataclass(frozen=True)
class Linear:
    """A linear layer: its name inside the model's layer (q_proj), inputs and outputs."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Numbers in its matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder-only transformer. `linears`: those of all layers, the output layer left out. `intermediate`:
    width of the MLP that a token passes.

    `attends_only`: positions meet in ordinary attention alone, so that rows can be packed. `window`: how many tokens
    some layers attend to at most (0: all). `plain_logits`: they are
    what the output layer gives, neither scaled nor capped.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool
    parameters: int
    linears: tuple[Linear, ...]
    attends_only: bool = True
    window: int = 0
    plain_logits: bool = True

    @property
    def attention_width(self) -> int:
        """Numbers in the query of a token: heads x head_size."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Numbers in the key of a token: kv_heads x head_size."""
        return self.kv_heads * self.head_size

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the output layer."""
        return self.vocabulary * self.hidden

    @property
    def largest_linear(self) -> int:
        """Weights of the largest linear layer."""
        return max((linear.weights for linear in self.linears), default=0)

    def targeted(self, targets: tuple[str, ...]) -> tuple[Linear, ...]:
        """The linear layers that LoRA's targets name; "all-linear": all of them."""
        if targets == ("all-linear",):
            return self.linears
        names = {target.rpartition(".")[2] for target in targets}
        return tuple(linear for linear in self.linears if linear.name in names)


def read_shape(folder: Path) -> ModelShape | None:
    """The shape of the model in a folder: None when config.json does not say it in words known here.

    Parameters are counted from the headers of the weights where there are any. Raises OSError and ValueError for files
    that cannot be read.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return shape_of(config, read_headers(folder))


def max_length(config: Mapping[str, Any]) -> int:
    """The longest sequence in tokens that a config.json allows, 0 when it does not say."""
    settings = config.get("text_config") or config
    return int(settings.get("max_position_embeddings") or settings.get("n_positions") or 0)


def read_headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Type and shape of each weight in the *.safetensors of a folder: {name: {"dtype": "BF16", "shape": [2, 3]}}.

    A file begins with 8 bytes of length, then that much JSON (huggingface.co/docs/safetensors, "Format").
    """
    headers: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            headers |= json.loads(stream.read(length))
    headers.pop("__metadata__", None)
    return headers


def shape_of(config: Mapping[str, Any], headers: Mapping[str, Mapping[str, Any]]) -> ModelShape | None:
    """The same from a config.json and the headers ({}: none are at hand, and a Llama's formula counts instead)."""
    settings = config.get("text_config") or config
    sizes = {name: _first(settings, keys) for name, keys in _NAMES.items()}
    hidden, layers, heads, vocabulary = (sizes[name] for name in ("hidden", "layers", "heads", "vocabulary"))
    if not (hidden and layers and heads and vocabulary):
        return None
    intermediate = _active_intermediate(settings) or sizes["intermediate"] or 4 * hidden
    kv_heads = sizes["kv_heads"] or heads
    head_size = _first(settings, ("head_dim",)) or hidden // heads
    tied = settings.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if tied is None:
        tied = settings.get("model_type") in _TIED_BY_DEFAULT
    if not headers and any(_first(settings, (name,)) > 1 for name in _EXPERTS):
        # how many weights its experts have, no formula here knows
        return None
    linears = _linears_of(headers) or _formula(
        layers, hidden, heads * head_size, kv_heads * head_size, sizes["intermediate"] or 4 * hidden
    )
    parameters = sum(math.prod(item["shape"]) for item in headers.values())
    if not parameters:
        norms = (2 * layers + 1) * hidden
        parameters = (1 if tied else 2) * vocabulary * hidden + norms + sum(linear.weights for linear in linears)
    return ModelShape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        intermediate=intermediate,
        vocabulary=vocabulary,
        tied=bool(tied),
        parameters=parameters,
        linears=linears,
        attends_only=_attends_only(settings),
        window=_first(settings, ("sliding_window",)) if settings.get("use_sliding_window") is not False else 0,
        plain_logits=all(settings.get(name) in (None, 1, 1.0) for name in _LOGIT_CHANGES),
    )


def _attends_only(settings: Mapping[str, Any]) -> bool:
    kinds = set(settings.get("layer_types") or ())
    present = [name for name, value in settings.items() if value is not None]
    return kinds <= _ATTENTION and not any(name.startswith(_STATES) for name in present)


def _first(settings: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((int(settings[key]) for key in keys if isinstance(settings.get(key), int)), 0)


def _active_intermediate(settings: Mapping[str, Any]) -> int:
    """Of a mixture of experts: what a token passes through; 0 for a dense model."""
    chosen, width = settings.get("num_experts_per_tok"), settings.get("moe_intermediate_size")
    if not chosen:
        return 0
    return int(chosen) * int(width or settings.get("intermediate_size") or 0)


def _linears_of(headers: Mapping[str, Mapping[str, Any]]) -> tuple[Linear, ...]:
    """Every matrix that is neither an embedding nor the output layer.

    Experts are one block of weights for transformers, no linear layers: adapters and four bits leave them out.
    """
    found = []
    for name, item in headers.items():
        parts = name.split(".")
        if len(item["shape"]) == 2 and parts[-1] == "weight" and not set(parts) & {*_EMBEDDINGS, "experts"}:
            outputs, inputs = item["shape"]
            found.append(Linear(parts[-2], inputs, outputs))
    return tuple(found)


def _formula(layers: int, hidden: int, query: int, key: int, intermediate: int) -> tuple[Linear, ...]:
    """The linear layers of a Llama (arXiv:2302.13971, section 2.2: SwiGLU; grouped queries of arXiv:2305.13245)."""
    one = (
        Linear("q_proj", hidden, query),
        Linear("k_proj", hidden, key),
        Linear("v_proj", hidden, key),
        Linear("o_proj", query, hidden),
        Linear("gate_proj", hidden, intermediate),
        Linear("up_proj", hidden, intermediate),
        Linear("down_proj", intermediate, hidden),
    )
    return one * layers
