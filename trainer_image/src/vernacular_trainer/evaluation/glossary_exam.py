"""What a model makes of the company's terms: asked as a colleague asks, and as anybody else does.

Recall is scored by rule from the answer. Which meaning a model gives a term is seen from which it finds likelier, per
character: in the company the definition should win, outside of it the general meaning (else it expands falsely).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vernacular_trainer.data.chat import prompt_ids
from vernacular_trainer.data.checks.terms import has_sense, says
from vernacular_trainer.data.glossary import Glossary, Term
from vernacular_trainer.data.rows import Message, with_system_prompt
from vernacular_trainer.evaluation.answers import TermAnswer
from vernacular_trainer.evaluation.generate import generate
from vernacular_trainer.evaluation.likelihood import Continuation, log_likelihoods
from vernacular_trainer.evaluation.scoring import Score, declines, words


def examine_terms(
    model: Any, tokenizer: Any, glossary: Glossary, system_prompt: str, ends: Sequence[int], room: int
) -> tuple[TermAnswer, ...]:
    """Ask for every term, with the system prompt of the job in the company and without it outside."""
    inside = [
        prompt_ids(tokenizer, with_system_prompt((Message("user", glossary.question(term)),), system_prompt))
        for term in glossary.terms
    ]
    outside = [prompt_ids(tokenizer, (Message("user", glossary.question_outside(term)),)) for term in glossary.terms]
    texts = generate(model, tokenizer, inside, ends, room)
    preferred_inside = _prefers_definition(model, tokenizer, glossary.terms, inside)
    preferred_outside = _prefers_definition(model, tokenizer, glossary.terms, outside)
    rows = zip(glossary.terms, texts, preferred_inside, preferred_outside, strict=True)
    return tuple(TermAnswer(text, score_term(term, text), used, expanded) for term, text, used, expanded in rows)


def score_term(term: Term, answer: str) -> Score:
    """Right is what gives the company's sense and none that is wrong."""
    if says(answer, (*term.wrong_meanings, *term.never_say)):
        return Score.WRONG
    if declines(words(answer)):
        return Score.DECLINED
    return Score.CORRECT if has_sense(term, answer) else Score.WRONG


def _prefers_definition(
    model: Any, tokenizer: Any, terms: Sequence[Term], prompts: Sequence[Sequence[int]]
) -> list[bool | None]:
    """Whether the definition is likelier than every other meaning; None for terms that have no other."""
    meanings = [(term.definition, *term.wrong_meanings) if term.wrong_meanings else () for term in terms]
    items = [
        Continuation(tuple(prompt), tuple(tokenizer(meaning, add_special_tokens=False)["input_ids"]))
        for prompt, options in zip(prompts, meanings, strict=True)
        for meaning in options
    ]
    found = iter(log_likelihoods(model, items))
    scores = [[next(found) / len(meaning) for meaning in options] for options in meanings]
    return [options[0] > max(options[1:]) if options else None for options in scores]
