"""Stage 3: ask the base model and the tuned one the held-out questions and judge the difference.

The tuned model is loaded from the result that ships, never taken from the training's memory.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vernacular_trainer.contract import EvaluateSummary, JobConfig, Phase, summary_to_dict
from vernacular_trainer.data.chat import end_of_turn_ids, load_tokenizer, prompt_ids
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.questions import Question, parse_questions
from vernacular_trainer.evaluation.generate import generate
from vernacular_trainer.evaluation.scoring import Scored, score
from vernacular_trainer.evaluation.verdict import judge, nothing_asked
from vernacular_trainer.model.base import load_base
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.workspace import Workspace

log = logging.getLogger(__name__)


def run(config: JobConfig, workspace: Workspace) -> EvaluateSummary:
    """Do the stage; safe to repeat.

    Raises StageError when a model cannot be loaded, FileNotFoundError when an earlier stage has left nothing.
    """
    started = time.monotonic()
    questions = load_questions(config, workspace)
    if not questions:
        return _finish(workspace, nothing_asked(), [])
    tokenizer = load_tokenizer(Path(config.model.path), config.model.uri)
    prompts = [prompt_ids(tokenizer, question.messages) for question in questions]
    with reporting(config) as phases:
        base, tuned = _ask_both(config, workspace, tokenizer, prompts, phases)
    base_scores = [score(question, answer) for question, answer in zip(questions, base, strict=True)]
    tuned_scores = [score(question, answer) for question, answer in zip(questions, tuned, strict=True)]
    unanswerable = sum(not question.answerable for question in questions)
    summary = judge(base_scores, tuned_scores, unanswerable, round(time.monotonic() - started))
    entries = [_entry(*item) for item in zip(questions, base, base_scores, tuned, tuned_scores, strict=True)]
    return _finish(workspace, summary, entries)


def load_questions(config: JobConfig, workspace: Workspace) -> tuple[Question, ...]:
    """The questions that prepare left: the user's, else those of the held-out rows, if any."""
    text = workspace.questions.read_text(encoding="utf-8-sig")
    source = config.evaluation.questions
    if source is None and not text:
        return ()
    return parse_questions(text, source.name if source else "held-out rows", config.dataset.system_prompt)


def _ask_both(
    config: JobConfig,
    workspace: Workspace,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    phases: PhaseReporter,
) -> tuple[list[str], list[str]]:
    ends = end_of_turn_ids(tokenizer)
    phases.enter(Phase.LOADING_MODEL, lambda: "the base model")
    quantized = config.method.quantizes
    model = _load(Path(config.model.path), quantized=quantized)
    phases.enter(Phase.EVALUATING, lambda: f"the base model answers {len(prompts)} questions")
    base = generate(model, tokenizer, prompts, ends)
    phases.enter(Phase.LOADING_MODEL, lambda: "the tuned model")
    if config.method.makes_adapter:
        tuned = _with_adapter(model, workspace.result / "adapter", quantized=quantized)
    else:
        del model
        gc.collect()
        tuned = _load(workspace.result / "model")
    phases.enter(Phase.EVALUATING, lambda: f"the tuned model answers {len(prompts)} questions")
    return base, generate(tuned, tokenizer, prompts, ends)


def _with_adapter(model: Any, folder: Path, *, quantized: bool) -> Any:
    """The base with the adapter that ships, in the base's own memory.

    In float32 adding the adapter into the weights changes nothing but the speed, which nearly triples on processors; in
    fewer bits it would round the adapter away.
    """
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(folder))
    return adapted.merge_and_unload() if model.dtype == torch.float32 and not quantized else adapted


def _load(folder: Path, *, quantized: bool = False) -> Any:
    """A model on the GPU in BF16 where there is one, else on the processors in FP32."""
    if torch.cuda.is_available():
        return load_base(folder, torch.bfloat16, quantized=quantized).to("cuda")
    return load_base(folder, torch.float32, quantized=quantized)


def _finish(workspace: Workspace, summary: EvaluateSummary, entries: list[dict[str, Any]]) -> EvaluateSummary:
    write_json(workspace.evaluation_report, {**summary_to_dict(summary), "questions": entries})
    log.info("evaluation: %s", summary.summary)
    return summary


def _entry(question: Question, base: str, base_score: Scored, tuned: str, tuned_score: Scored) -> dict[str, Any]:
    return {
        "row": question.row,
        "topic": question.topic,
        "answerable": question.answerable,
        "messages": [message.to_dict() for message in question.messages],
        "expected": question.expected,
        "base": {"answer": base, "score": base_score.score, "invented": base_score.invented},
        "tuned": {"answer": tuned, "score": tuned_score.score, "invented": tuned_score.invented},
    }
