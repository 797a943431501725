"""Ask a model everything that is on the paper. The base takes the whole exam, the tuned model the same questions."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch

from vernacular_trainer.evaluation.allowance import Allowance, Pace, allow
from vernacular_trainer.evaluation.answers import Answers, BaseExam, TermAnswer
from vernacular_trainer.evaluation.general import choices
from vernacular_trainer.evaluation.general_questions import general_questions
from vernacular_trainer.evaluation.generate import generate
from vernacular_trainer.evaluation.glossary_exam import examine_terms
from vernacular_trainer.evaluation.likelihood import log_likelihoods
from vernacular_trainer.evaluation.paper import Paper

# a question about the world and its four answers, in tokens
_GENERAL_TOKENS = 72.0

log = logging.getLogger(__name__)

Clock = Callable[[], float]


def examine_base(
    model: Any, tokenizer: Any, paper: Paper, seconds: float, clock: Clock, *, general_demanded: bool
) -> BaseExam:
    """Ask the base everything that `seconds`, both models together, leave time for; the user's questions always."""
    started = clock()
    texts = generate(model, tokenizer, paper.prompts, paper.ends, paper.room)
    answered = clock()
    likelihoods = _expected(model, paper)
    read = clock()
    tokens = sum(item.length for item in paper.expected if item)
    pace = Pace((answered - started) / len(texts), (read - answered) / tokens if tokens else 0.0)
    # the tuned model takes as long for the same
    allowed = _allow(paper, pace, seconds - 2 * (read - started), general_demanded=general_demanded)
    general = choices(model, tokenizer, general_questions()[: allowed.general])
    terms = _terms(model, tokenizer, paper)
    sampled = paper.sample(allowed.prompted)
    started = clock()
    try:
        with_rows = generate(model, tokenizer, [paper.with_rows[index] for index in sampled], paper.ends, paper.room)
    except torch.OutOfMemoryError:
        log.warning("no memory for prompts with rows, which are left out")
        torch.cuda.empty_cache()
        sampled, with_rows = (), []
    per_request = (clock() - started) / len(sampled) if sampled else 0.0
    answers = Answers(tuple(texts), likelihoods, general, terms)
    return BaseExam(answers, sampled, tuple(with_rows), (per_request, pace.seconds_per_answer))


def examine_tuned(model: Any, tokenizer: Any, paper: Paper, general: int) -> Answers:
    """Ask the tuned model what the base was asked, `general` questions about the world among it."""
    texts = generate(model, tokenizer, paper.prompts, paper.ends, paper.room)
    knows = choices(model, tokenizer, general_questions()[:general])
    return Answers(tuple(texts), _expected(model, paper), knows, _terms(model, tokenizer, paper))


def _terms(model: Any, tokenizer: Any, paper: Paper) -> tuple[TermAnswer, ...]:
    return examine_terms(model, tokenizer, paper.glossary, paper.system_prompt, paper.ends, paper.room)


def _allow(paper: Paper, pace: Pace, seconds: float, *, general_demanded: bool) -> Allowance:
    tokens = sum(len(prompt) for prompt in paper.with_rows) / len(paper.with_rows)
    general = (len(general_questions()), _GENERAL_TOKENS)
    return allow(seconds, pace, general, (len(paper.prompts), tokens), general_demanded=general_demanded)


def _expected(model: Any, paper: Paper) -> tuple[float | None, ...]:
    items = [item for item in paper.expected if item]
    found = iter(log_likelihoods(model, items))
    return tuple(_finite(next(found) / len(item.answer)) if item else None for item in paper.expected)


def _finite(value: float) -> float | None:
    """A broken model has no likelihoods."""
    return value if math.isfinite(value) else None
