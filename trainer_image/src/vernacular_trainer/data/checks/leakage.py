"""Questions of the evaluation that training rows ask in the same words: what is asked then was only learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Conversation


def leaks(rows: Sequence[Conversation], questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Index of each row that asks a held-out question, and of that question."""
    if not questions:
        return
    held_out = {_key(question): index for index, question in reversed(list(enumerate(questions)))}
    for index, row in enumerate(rows):
        if (question := held_out.get(tuple(words(row.asked)))) is not None:
            yield index, question


def _key(question: Question) -> tuple[str, ...]:
    return tuple(words("\n".join(message.content for message in question.messages if message.role != "system")))
