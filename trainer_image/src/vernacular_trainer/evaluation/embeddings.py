"""How near answers are to the expected ones in meaning: the cosine of their embeddings, from a model of a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vernacular_trainer.contract import ServiceConfig
from vernacular_trainer.evaluation.model_service import ModelService, ServiceError, no_such_answer

_BATCH = 64

Embed = Callable[[list[str]], list[list[float]]]


@dataclass(frozen=True)
class Similarity:
    """From -1 to 1, in the order of the questions; None where nothing is expected, and without the server's answer.

    `trouble`: why it was not measured, "" when it was.
    """

    model: str
    base: tuple[float | None, ...]
    tuned: tuple[float | None, ...]
    trouble: str = ""


def similarity_of(
    config: ServiceConfig, expected: Sequence[str], base: Sequence[str], tuned: Sequence[str]
) -> Similarity:
    """Ask the server about all texts. Never raises for what it does or fails to do."""
    try:
        embed = embedding_of(config)
        return Similarity(config.model, similarities(expected, base, embed), similarities(expected, tuned, embed))
    except ServiceError as error:
        nothing = (None,) * len(expected)
        return Similarity(config.model, nothing, nothing, str(error))


def embedding_of(config: ServiceConfig) -> Embed:
    """A function that gives the vectors of texts, in their order. Raises ServiceError, the function too."""
    service = ModelService(config)

    def embed(texts: list[str]) -> list[list[float]]:
        answer = service.ask("embeddings", {"input": texts, "encoding_format": "float"})
        try:
            vectors = {int(item["index"]): [float(value) for value in item["embedding"]] for item in answer["data"]}
            return [vectors[place] for place in range(len(texts))]
        except (KeyError, TypeError, ValueError):
            raise no_such_answer(config) from None

    return embed


def similarities(expected: Sequence[str], answers: Sequence[str], embed: Embed) -> tuple[float | None, ...]:
    """Of each answer to what is expected; an empty answer is like nothing, which servers refuse to embed."""
    pairs = list(zip(expected, answers, strict=True))
    texts = sorted({text for wanted, said in pairs if wanted.strip() and said.strip() for text in (wanted, said)})
    vectors: dict[str, np.ndarray] = {}
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        vectors.update(zip(batch, map(np.asarray, embed(batch)), strict=True))
    return tuple(
        None if not wanted.strip() else _cosine(vectors[wanted], vectors[said]) if said.strip() else 0.0
        for wanted, said in pairs
    )


def _cosine(left: np.ndarray, right: np.ndarray) -> float | None:
    """None for vectors that have no angle."""
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right)) if left.shape == right.shape else 0.0
    value = float(left @ right) / lengths if lengths else float("nan")
    return value if np.isfinite(value) else None
