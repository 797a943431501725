"""What a person says of answers, appended to a file of rows to train on next."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEXTS = ("question", "base", "tuned", "answer")
_MARKS = ("right", "wrong", "")


class JudgementError(ValueError):
    """A judgement that says too little, or something else."""


@dataclass(frozen=True)
class Judgement:
    """A question, what base and tuned model said, whether that is right ("": not said), and the right answer ("": not
    known).
    """

    question: str
    base: str
    tuned: str
    base_is: str
    tuned_is: str
    answer: str

    @classmethod
    def of(cls, document: Any) -> Judgement:
        """Read what the page sends. An answer that is right is the answer. Raises JudgementError."""
        if not isinstance(document, dict) or not all(isinstance(document.get(name), str) for name in _TEXTS):
            raise JudgementError(f"needs the texts {', '.join(_TEXTS)}")
        marks = [document.get(name, "") for name in ("baseIs", "tunedIs")]
        if not set(marks) <= set(_MARKS) or not any(marks):
            raise JudgementError("baseIs or tunedIs must be right or wrong")
        question, base, tuned, answer = (document[name].strip() for name in _TEXTS)
        if not question:
            raise JudgementError("the question is empty")
        right = {marks[0]: base, marks[1]: tuned}.get("right", "")
        return cls(question, base, tuned, marks[0], marks[1], answer or right)

    @property
    def row(self) -> dict[str, str]:
        """As a row to train on, in the columns that the evaluation gives to rows to write next; without an answer a
        person is still to write it.
        """
        return {
            "question": self.question,
            "answer": self.answer,
            "why": "Judged",
            "tuned answer": self.tuned,
            "tuned is": self.tuned_is,
            "base answer": self.base,
            "base is": self.base_is,
        }


class JudgementFile:
    """A file of JSON lines that only grows; threads may append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()

    def append(self, judgement: Judgement) -> None:
        """Write it so that it stays. Raises OSError."""
        line = json.dumps(judgement.row, ensure_ascii=False) + "\n"
        with self._turn, self.path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
