"""The questions as tokens: what each model is asked, in the same words and with the same room for an answer."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any

from vernacular_trainer.data.chat import end_of_turn_ids, prompt_ids
from vernacular_trainer.data.glossary import Glossary
from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.generate import room_for
from vernacular_trainer.evaluation.likelihood import Continuation
from vernacular_trainer.evaluation.prompting import TaughtRow, TaughtRows, with_rows

Prompt = tuple[int, ...]
_SEED = 42


@dataclass(frozen=True)
class Paper:
    """`prompts`: one for each question; `with_rows`: the same with `rows_used` training rows. `expected`: the expected
    answer after its prompt, None where there is none. `room`: tokens that an answer may have; `ends`: tokens that end
    it.
    """

    prompts: tuple[Prompt, ...]
    with_rows: tuple[Prompt, ...]
    rows_used: tuple[int, ...]
    expected: tuple[Continuation | None, ...]
    room: int
    ends: tuple[int, ...]
    glossary: Glossary
    system_prompt: str

    @property
    def digest(self) -> str:
        """Equal when everything that is asked is equal."""
        expected = [item.answer if item else () for item in self.expected]
        asked = [self.prompts, self.with_rows, expected, self.room, asdict(self.glossary), self.system_prompt]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def sample(self, count: int) -> tuple[int, ...]:
        """Indexes of so many questions, always the same."""
        return tuple(sorted(random.Random(_SEED).sample(range(len(self.prompts)), count)))


@dataclass(frozen=True)
class Asked:
    """What a job asks. `system_prompt` stands before every question about the glossary; the others have it already."""

    questions: tuple[Question, ...]
    glossary: Glossary = field(default_factory=Glossary)
    system_prompt: str = ""


def write_paper(tokenizer: Any, asked: Asked, rows: TaughtRows, longest: int | None) -> Paper:
    """Tokenise all questions; a prompt with rows has as many of them as `longest` tokens hold (None: no limit)."""
    questions = asked.questions
    prompts = [tuple(prompt_ids(tokenizer, question.messages)) for question in questions]
    answers = [tuple(tokenizer(question.expected, add_special_tokens=False)["input_ids"]) for question in questions]
    room = room_for([len(answer) for answer in answers])
    limit = longest - room if longest else None
    nearest = [rows.nearest(question.asked) for question in questions]
    pairs = zip(prompts, answers, strict=True)
    fitted = [_fitted(tokenizer, *item, limit) for item in zip(questions, nearest, strict=True)]
    return Paper(
        prompts=tuple(prompts),
        with_rows=tuple(prompt for prompt, _ in fitted),
        rows_used=tuple(count for _, count in fitted),
        expected=tuple(Continuation(prompt, answer) if answer else None for prompt, answer in pairs),
        room=room,
        ends=tuple(end_of_turn_ids(tokenizer)),
        glossary=asked.glossary,
        system_prompt=asked.system_prompt,
    )


def _fitted(tokenizer: Any, question: Question, rows: tuple[TaughtRow, ...], limit: int | None) -> tuple[Prompt, int]:
    """The prompt with the best rows that there is room for, and how many these are."""
    for count in range(len(rows), 0, -1):
        ids = prompt_ids(tokenizer, with_rows(question, rows[:count]))
        if limit is None or len(ids) <= limit:
            return tuple(ids), count
    return tuple(prompt_ids(tokenizer, question.messages)), 0
