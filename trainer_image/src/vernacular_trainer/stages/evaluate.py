"""Stage 3: ask the base model and the tuned one the held-out questions and judge the difference.

The tuned model is loaded from the result that ships, never taken from the training's memory.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vernacular_trainer.contract import EvaluateSummary, JobConfig, Phase, TrainSummary, build_strictly
from vernacular_trainer.data.chat import load_tokenizer, own_template
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.glossary import Glossary, parse_glossary
from vernacular_trainer.data.questions import Question, parse_questions
from vernacular_trainer.data.rows import RowError
from vernacular_trainer.disclosure import released_verdict
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.allowance import allowance_of
from vernacular_trainer.evaluation.answers import Answers, BaseExam
from vernacular_trainer.evaluation.embeddings import Similarity, similarity_of
from vernacular_trainer.evaluation.exam import Clock, examine_base, examine_tuned
from vernacular_trainer.evaluation.groups import groups
from vernacular_trainer.evaluation.judging import Opinion, Pair, opinion_of
from vernacular_trainer.evaluation.lessons import lessons
from vernacular_trainer.evaluation.paper import Asked, Paper, write_paper
from vernacular_trainer.evaluation.prompting import TaughtRows
from vernacular_trainer.evaluation.report import Results, write_documents
from vernacular_trainer.evaluation.scoring import Scored, score
from vernacular_trainer.evaluation.verdict import Evidence, General, Prompted, judge
from vernacular_trainer.model.base import load_to_ask
from vernacular_trainer.model_shape import max_length
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.workspace import Workspace

log = logging.getLogger(__name__)


def run(config: JobConfig, workspace: Workspace, clock: Clock = time.monotonic) -> EvaluateSummary:
    """Do the stage; safe to repeat.

    Raises StageError when a model cannot be loaded, FileNotFoundError when an earlier stage has left nothing.
    """
    started = clock()
    questions = load_questions(config, workspace)
    if not questions:
        summary = judge(Evidence((), (), ()), config.evaluation.gate)
        write_documents(workspace, summary, None)
        return released_verdict(summary, config.tracking.text_in_reports)
    rows = TaughtRows.read(workspace)
    asked = Asked(questions, load_glossary(config, workspace), config.dataset.system_prompt)
    papers = _papers(config, workspace, asked, rows)
    with reporting(config, Allowance()) as phases:
        base, tuned = _examine(config, workspace, papers, phases, clock)
        opinions = _second_opinions(config, workspace, questions, (base.answers.texts, tuned.texts), phases, clock)
    evidence = _evidence(questions, papers.base, base, tuned)
    summary = judge(evidence, config.evaluation.gate, round(clock() - started))
    log.info("evaluation: %s", summary.summary)
    missed = lessons(questions, evidence.tuned, rows)
    results = Results(
        evidence,
        base,
        tuned,
        missed,
        asked.glossary,
        config.evaluation.gate,
        *opinions,
        groups(questions, missed, rows, asked.glossary),
    )
    write_documents(workspace, summary, results)
    return released_verdict(summary, config.tracking.text_in_reports)


def load_questions(config: JobConfig, workspace: Workspace) -> tuple[Question, ...]:
    """The questions that prepare left: the user's, else those of the held-out rows, if any."""
    text = workspace.questions.read_text(encoding="utf-8-sig")
    source = config.evaluation.questions
    if source is None and not text:
        return ()
    return parse_questions(text, source.name if source else "held-out rows", config.dataset.system_prompt)


@dataclass(frozen=True)
class _Papers:
    """The questions as the base's chat template writes them, and as that of the result does; usually the same."""

    base: Paper
    base_tokenizer: Any
    tuned: Paper
    tuned_tokenizer: Any


def _papers(config: JobConfig, workspace: Workspace, asked: Asked, rows: TaughtRows) -> _Papers:
    template = own_template(workspace)
    paper, tokenizer = _paper_of_base(config, template, asked, rows)
    result = _result(config, workspace)
    if (result / "tokenizer_config.json").exists():
        shipped = load_tokenizer(result, "the result")
    elif template:
        shipped = load_tokenizer(Path(config.model.path), config.model.uri, template)
    else:
        # a trainer of the user's own need not ship one
        return _Papers(paper, tokenizer, paper, tokenizer)
    return _Papers(paper, tokenizer, write_paper(shipped, asked, TaughtRows([]), None), shipped)


def _paper_of_base(config: JobConfig, template: str, asked: Asked, rows: TaughtRows) -> tuple[Paper, Any]:
    """The questions as the base answers them best: written with its own template, which it has learnt, and with the
    job's only where it has none, or one that cannot write them.
    """
    folder, name, longest = Path(config.model.path), config.model.uri, _longest(config)
    if template:
        with suppress(StageError, RowError):
            own = load_tokenizer(folder, name)
            return write_paper(own, asked, rows, longest), own
    tokenizer = load_tokenizer(folder, name, template)
    return write_paper(tokenizer, asked, rows, longest), tokenizer


def _result(config: JobConfig, workspace: Workspace) -> Path:
    return workspace.result / config.method.result


def load_glossary(config: JobConfig, workspace: Workspace) -> Glossary:
    """The glossary that prepare left; an empty one when the job names none."""
    source = config.evaluation.glossary
    return parse_glossary(workspace.glossary.read_text(encoding="utf-8-sig"), source.name) if source else Glossary()


def _examine(
    config: JobConfig, workspace: Workspace, papers: _Papers, phases: PhaseReporter, clock: Clock
) -> tuple[BaseExam, Answers]:
    paper = papers.base
    asked = len(paper.prompts)
    quantized = config.method.quantizes
    phases.enter(Phase.LOADING_MODEL, lambda: "the base model")
    model = load_to_ask(Path(config.model.path), quantized=quantized)
    base = _known_base(workspace, paper)
    if base is None:
        phases.enter(Phase.EVALUATING, lambda: f"the base model answers {asked} questions")
        seconds = allowance_of(_training_seconds(workspace))
        demanded = config.evaluation.gate.max_general_regression_percent is not None
        base = examine_base(model, papers.base_tokenizer, paper, seconds, clock, general_demanded=demanded)
        write_json(workspace.base_answers, {"paper": paper.digest, "exam": dataclasses.asdict(base)})
    phases.enter(Phase.LOADING_MODEL, lambda: "the tuned model")
    if config.method.makes_adapter:
        tuned = _with_adapter(model, _result(config, workspace), quantized=quantized)
    else:
        del model
        gc.collect()
        tuned = load_to_ask(_result(config, workspace))
    phases.enter(Phase.EVALUATING, lambda: f"the tuned model answers {asked} questions")
    return base, examine_tuned(tuned, papers.tuned_tokenizer, papers.tuned, len(base.answers.general))


def _second_opinions(
    config: JobConfig,
    workspace: Workspace,
    questions: Sequence[Question],
    answers: tuple[Sequence[str], Sequence[str]],
    phases: PhaseReporter,
    clock: Clock,
) -> tuple[Opinion | None, Similarity | None]:
    """What other models say of the answers; the verdict does without. `answers`: of the base and of the tuned model."""
    opinion, similarity = None, None
    if judge_config := config.evaluation.judge:
        phases.enter(Phase.EVALUATING, lambda: f"{judge_config.service.model} compares the answers")
        pairs = [Pair(place, *item) for place, item in enumerate(zip(questions, *answers, strict=True))]
        deadline = clock() + allowance_of(_training_seconds(workspace))
        opinion = opinion_of(judge_config, pairs, deadline, clock)
    if service := config.evaluation.embeddings:
        phases.enter(Phase.EVALUATING, lambda: f"{service.model} embeds the answers")
        similarity = similarity_of(service, [question.expected for question in questions], *answers)
    for found in (opinion, similarity):
        if found and found.trouble:
            log.warning("%s: %s", found.model, found.trouble)
    return opinion, similarity


def _evidence(questions: tuple[Question, ...], paper: Paper, base: BaseExam, tuned: Answers) -> Evidence:
    prompted = None
    if base.sampled:
        asked = [questions[index] for index in base.sampled]
        tokens = sum(len(paper.with_rows[index]) for index in base.sampled) / len(base.sampled)
        rows = max(paper.rows_used[index] for index in base.sampled)
        prompted = Prompted(rows, base.sampled, _scores(asked, base.with_rows), round(tokens))
    general = General(base.answers.general, tuned.general) if tuned.general else None
    scored = _scores(questions, base.answers.texts), _scores(questions, tuned.texts)
    return Evidence(questions, *scored, prompted, general)


def _scores(questions: Sequence[Question], answers: Sequence[str]) -> tuple[Scored, ...]:
    return tuple(score(question, answer) for question, answer in zip(questions, answers, strict=True))


def _known_base(workspace: Workspace, paper: Paper) -> BaseExam | None:
    """What an earlier attempt asked the base, when it asked the same."""
    if not workspace.base_answers.exists():
        return None
    known = json.loads(workspace.base_answers.read_text(encoding="utf-8"))
    return build_strictly(BaseExam, known["exam"], "exam") if known["paper"] == paper.digest else None


def _training_seconds(workspace: Workspace) -> float:
    """0 when a trainer of the user's own did not say."""
    if not workspace.training_report.exists():
        return 0.0
    report = json.loads(workspace.training_report.read_text(encoding="utf-8"))
    return build_strictly(TrainSummary, report, "training").training_seconds


def _longest(config: JobConfig) -> int | None:
    """How many tokens the model can read, None when it does not say."""
    settings = json.loads((Path(config.model.path) / "config.json").read_text(encoding="utf-8"))
    return max_length(settings) or None


def _with_adapter(model: Any, folder: Path, *, quantized: bool) -> Any:
    """The base with the adapter that ships, in the base's own memory.

    In float32 adding the adapter into the weights changes nothing but the speed, which nearly triples on processors; in
    fewer bits it would round the adapter away.
    """
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(folder))
    return adapted.merge_and_unload() if model.dtype == torch.float32 and not quantized else adapted
