"""The built-in questions about the world, Vernacular's own: each with a right answer and three wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("general_questions.jsonl")


@dataclass(frozen=True)
class GeneralQuestion:
    """A question about the world, its right answer and three wrong ones."""

    question: str
    right: str
    wrong: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """All answers, the right one first."""
        return (self.right, *self.wrong)


@cache
def general_questions() -> tuple[GeneralQuestion, ...]:
    """The built-in questions, mixed: the first of them are from all fields."""
    documents = map(json.loads, _FILE.read_text(encoding="utf-8").splitlines())
    return tuple(GeneralQuestion(item["question"], item["right"], tuple(item["wrong"])) for item in documents)
