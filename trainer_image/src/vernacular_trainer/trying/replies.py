"""Which models there are, and what they reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vernacular_trainer.data.rows import Message

Tell = Callable[[str], None]


class Which(StrEnum):
    """The models by the names that requests have for them."""

    BASE = "base"
    TUNED = "tuned"


class UnaskableError(Exception):
    """These messages cannot be written for the model; the message says why."""


@dataclass(frozen=True)
class Reply:
    """An answer with the tokens of the prompt and its own. `ended`: by the model, within its room."""

    text: str
    prompt_tokens: int
    answer_tokens: int
    ended: bool


class Answering(Protocol):
    """What answers: ChatModels."""

    def answer(self, which: Which, messages: Sequence[Message], most: int, tell: Tell) -> Reply: ...
