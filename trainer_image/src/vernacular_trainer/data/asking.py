"""Whether the model's chat template can write what the evaluation will ask: found out before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.chat import prompt_ids
from vernacular_trainer.data.glossary import Glossary
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message, RowError, with_system_prompt
from vernacular_trainer.errors import StageError

_ADVICE = "some templates know no system message, or want user and assistant in turn: write it so, or use another model"


def require_askable(
    tokenizer: Any, longest: int, prompt: str, questions: Sequence[Question], glossary: Glossary
) -> None:
    """Raises StageError (QuestionsUnreadable, GlossaryUnreadable) for the first question that cannot be asked with the
    system prompt `prompt`, or that leaves no room for an answer within the `longest` tokens that the model reads
    (0: not known).
    """
    for question in questions:
        messages = with_system_prompt(question.messages, prompt)
        _require(tokenizer, longest, messages, StageFailure.QUESTIONS_UNREADABLE, question.row)
    for term in glossary.terms:
        for asked, system in ((glossary.question(term), prompt), (glossary.question_outside(term), "")):
            messages = with_system_prompt((Message("user", asked),), system)
            what = f"the question about {term.term[:60]}"
            _require(tokenizer, longest, messages, StageFailure.GLOSSARY_UNREADABLE, what)


def _require(tokenizer: Any, longest: int, messages: tuple[Message, ...], code: StageFailure, what: str) -> None:
    try:
        tokens = len(prompt_ids(tokenizer, messages))
    except RowError:
        raise StageError(code, f"{what}: the chat template of the model refuses it", _ADVICE) from None
    if longest and tokens >= longest:
        message = f"{what}: {tokens:,} tokens leave no room for an answer, the model reads {longest:,}"
        raise StageError(code, message, "shorten it, and dataset.systemPrompt, or use a model that reads more")
