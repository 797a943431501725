"""What a model knows about the world, which training must not take away: questions with four answers to choose from.

Chosen is the answer whose characters are likeliest after the question, so it does not matter how a model words answers.
Gao et al.: the acc_norm of the Language Model Evaluation Harness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vernacular_trainer.evaluation.general_questions import GeneralQuestion
from vernacular_trainer.evaluation.likelihood import Continuation, log_likelihoods


def choices(model: Any, tokenizer: Any, questions: Sequence[GeneralQuestion]) -> tuple[bool, ...]:
    """Whether the model finds the right answer of each question the likeliest, per character."""
    items = [
        Continuation(_ids(tokenizer, f"Question: {item.question}\nAnswer:", start=True), _ids(tokenizer, f" {option}"))
        for item in questions
        for option in item.options
    ]
    found = iter(log_likelihoods(model, items))
    return tuple(_first_is_best([next(found) / len(option) for option in item.options]) for item in questions)


def _first_is_best(scores: Sequence[float]) -> bool:
    return scores[0] > max(scores[1:])


def _ids(tokenizer: Any, text: str, *, start: bool = False) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=start)["input_ids"])
