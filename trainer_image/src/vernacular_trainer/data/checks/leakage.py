"""Questions of the evaluation that training rows ask in the same words: what is asked then was only learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vernacular_trainer.data.checks.keys import Keys, key
from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.questions import Question


def leaks(worded: Keys, questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Index of each row that asks a held-out question, and of that question. `worded`: keys of the words that rows ask
    in.
    """
    if not questions:
        return
    held_out = {_key(question): index for index, question in reversed(list(enumerate(questions)))}
    for index, found in enumerate(worded):
        if (question := held_out.get(found.tobytes())) is not None:
            yield index, question


def _key(question: Question) -> bytes:
    asked = "\n".join(message.content for message in question.messages if message.role != "system")
    return key(" ".join(words(asked)))
