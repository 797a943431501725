"""Stage 1, on a CPU pod without torch: copy and check every input, tokenise, split, choose the plan, check rights.

Whatever can be wrong with a job is found here, before a GPU is asked for.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from vernacular_trainer import planning
from vernacular_trainer.cgroup import available_cores, memory_limit
from vernacular_trainer.contract import (
    TERMINATION_MESSAGE_LIMIT,
    FileSource,
    JobConfig,
    Outcome,
    Phase,
    PrepareSummary,
    Problem,
    StageFailure,
    StageReport,
    summary_to_dict,
)
from vernacular_trainer.data.asking import require_askable
from vernacular_trainer.data.bad_rows import require_few_bad_rows
from vernacular_trainer.data.base_model import BaseModel, downloaded, provide
from vernacular_trainer.data.chat import load_tokenizer, own_template, token_histogram
from vernacular_trainer.data.chat_template import copy_template, require_usable
from vernacular_trainer.data.checks.terms import cover
from vernacular_trainer.data.exports import write_clean_rows, write_rejected_rows
from vernacular_trainer.data.files import InputCopy, combined_digest, read_text, write_json
from vernacular_trainer.data.glossary import Glossary, parse_glossary
from vernacular_trainer.data.held_out import (
    ask_held_out,
    note_split,
    origins_of,
    provable_gain,
    write_missing_wordings,
)
from vernacular_trainer.data.lookup import TESTED, TRAINED, write_row_digests
from vernacular_trainer.data.mask_proof import prove_mask
from vernacular_trainer.data.mixing import Mixed, mix
from vernacular_trainer.data.overview import overview
from vernacular_trainer.data.own_validation import own_split, require_apart
from vernacular_trainer.data.places import Places
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question, parse_questions, pieces
from vernacular_trainer.data.remote.fetch import Servers, copy_one
from vernacular_trainer.data.remote.runs import Tracking
from vernacular_trainer.data.report import sample_texts, write_report
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.row_store import RowStore
from vernacular_trainer.data.sources import Checked, Copied, check_sources, copy_sources
from vernacular_trainer.data.split import Split, provable_points, split_rows
from vernacular_trainer.data.table import write_rows
from vernacular_trainer.data.terms import note_terms, term_table
from vernacular_trainer.data.token_store import TokenStore
from vernacular_trainer.data.tokenising import Tokenised, tokenise
from vernacular_trainer.data.topics import note_topics, topics_of
from vernacular_trainer.data.workers import Workers, process_count
from vernacular_trainer.disclosure import released_findings
from vernacular_trainer.errors import StageError
from vernacular_trainer.fitting import Situation
from vernacular_trainer.memory import RowSizes
from vernacular_trainer.model_shape import read_shape
from vernacular_trainer.serving import servability
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.tracking.rights import AWAY, check_rights
from vernacular_trainer.workspace import Workspace

# below this a split leaves nothing to learn from, and mistakes like a wrong key look like a tiny data set
MINIMUM_ROWS = 8

# of a place that is told where room is short, in characters: its end says the row
_PLACE_LENGTH = 80

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Questions:
    """The user's questions and glossary, and the copies that they came from; nothing when the job gives none."""

    copies: tuple[InputCopy, ...] = ()
    asked: tuple[Question, ...] = ()
    glossary: Glossary = field(default_factory=Glossary)

    @property
    def count(self) -> int:
        return pieces(self.asked)


def run(config: JobConfig, workspace: Workspace) -> PrepareSummary:
    """Do the stage; safe to repeat. Raises StageError for everything a user can fix."""
    problems = ProblemLog(Places(workspace.inputs))
    try:
        processes = process_count(available_cores(), memory_limit())
        with reporting(config, Allowance()) as phases, Workers(processes) as workers:
            return _prepare(config, workspace, problems, phases, workers)
    except StageError:
        if problems.problems():
            write_report({"problems": _plain(problems.problems()), "places": problems.places.count}, workspace)
            write_rejected_rows(workspace.rejected_rows, problems.rejected)
            problems.places.save(workspace.findings)
        raise


def _prepare(
    config: JobConfig, workspace: Workspace, problems: ProblemLog, phases: PhaseReporter, workers: Workers
) -> PrepareSummary:
    phases.enter(Phase.DOWNLOADING, lambda: "data")
    copied = copy_sources(config.dataset.train, workspace, _servers(config))
    own = copy_sources(config.dataset.validation, workspace, _servers(config), "validation")
    require_apart(copied.copies, own.copies)
    phases.enter(Phase.CHECKING_DATA)
    given = copy_template(config.dataset.chat_template, workspace, _servers(config))
    checked, mixed, reviewed, questions = _check(config, workspace, copied, own, problems, workers)
    phases.enter(Phase.DOWNLOADING, lambda: downloaded(config.model))
    model = provide(config.model, config.https)
    _check_targets(config, model)
    template = own_template(workspace)
    tokenizer = load_tokenizer(model.folder, config.model.uri, template)
    if given:
        require_usable(tokenizer, given.name)
    prompt = config.dataset.system_prompt
    require_askable(tokenizer, model.max_length, prompt, questions.asked, questions.glossary)
    phases.enter(Phase.TOKENISING)
    tokenised = tokenise(config, model, tokenizer, reviewed, problems, workers, template)
    require_few_bad_rows(problems, checked.rows, config.dataset.max_bad_rows_percent)
    _require_trainable(tokenised, len(reviewed.conversations))
    everything = config.training.loss == planning.ALL_TOKENS
    mask = prove_mask(tokenizer, tokenised.conversations, problems, everything=everything)
    split = _split(config, tokenised, checked.held_out, problems, workers)
    topics = topics_of(tokenised.conversations, workers)
    number = questions.count or ask_held_out(tokenised.conversations, split, workspace, topics.names)
    of_topics = note_topics(topics, tokenised.conversations, split, problems)
    note_split(tokenised.conversations, split, number, problems)
    coverage = cover(questions.glossary.terms, tokenised.conversations)
    note_terms(coverage, tokenised.conversations, problems)
    write_missing_wordings(tokenised.conversations, split, workspace, workers)
    facts_taught = config.dataset.teaches == "Facts" and not config.objective.compares
    whole = overview(tokenised.conversations, split, facts=facts_taught, problems=problems)
    train, validation = tokenised.pick(split.train), tokenised.pick(split.validation)
    facts = planning.DataFacts(
        len(split.train) if config.objective.compares else len(train),
        len(split.validation) if config.objective.compares else len(validation),
        tokenised.longest,
        model.max_length,
        _situation(config, model, train),
    )
    resolved = planning.resolve(config, facts)
    plan = resolved.plan
    shares = tuple(source.plan_value() for source in mixed.sources if source.share_percent)
    values = (*resolved.values, provable_gain(number), *(() if config.trainer else (servability(plan),)), *shares)
    tracking = check_rights(config)
    if tracking == AWAY:
        log.warning("MLflow does not answer now; training waits for it")

    for path, rows in ((workspace.train_rows, train), (workspace.validation_rows, validation)):
        # measured over rows that are no more
        workspace.reference(path).unlink(missing_ok=True)
        write_rows(path, rows)
    copies = [*checked.copies, *questions.copies, *([given] if given else [])]
    write_json(workspace.plan, dataclasses.asdict(plan))
    write_json(workspace.inputs / "inputs.json", [_describe(copy) for copy in copies])
    summary = PrepareSummary(
        rows=checked.rows,
        dropped=len(problems.rejected),
        duplicates=problems.count("Duplicate"),
        train=len(split.train),
        validation=len(split.validation),
        tokens=int(train.lengths.sum()),
        digest=combined_digest(copies),
        total_steps=plan.total_steps,
        plan_summary=planning.summarise(plan),
        plan=values,
        problems=problems.problems(),
        readiness=whole.readiness,
    )
    write_clean_rows(workspace.clean_rows, tokenised.conversations, workers)
    origins = origins_of(tokenised.conversations, split.validation, tokenised.shortened)
    write_json(workspace.held_out_lines, dataclasses.asdict(origins))
    write_rejected_rows(workspace.rejected_rows, problems.rejected)
    problems.places.save(workspace.findings)
    # as they were read, not as they were masked
    read = chain(checked.conversations, checked.held_out)
    write_row_digests(workspace.row_digests, read, _uses(tokenised, split))
    findings = {
        "places": problems.places.count,
        "ignored_files": (*copied.ignored, *own.ignored),
        "sources": [dataclasses.asdict(source) for source in mixed.sources],
        "truncation": dataclasses.asdict(tokenised.truncation),
        "held_out": {"questions": number, "provable_points": provable_points(number)},
        "personal_data": reviewed.personal_data,
        "topics": of_topics,
        "mask": mask.report(),
        "chat_template": _describe(given) if given else {},
        "samples": sample_texts(reviewed.samples),
        "glossary": term_table(coverage, tokenizer),
        **whole.report(),
    }
    report = _report(config, summary, checked, questions.copies, model, tokenised.tokens, tracking)
    write_report({**report, **findings}, workspace)
    return _fitted(released_findings(summary, config.tracking.text_in_reports), len(shares))


def _split(
    config: JobConfig, tokenised: Tokenised, held_out: RowStore, problems: ProblemLog, workers: Workers
) -> Split:
    """What is held out: rows of their own when the job names some, else a part of the training rows."""
    if config.dataset.validation:
        split = own_split(tokenised.conversations, frozenset(row.row for row in held_out), problems)
        _require_rows(len(split.train), "keeps, without what is held out,")
        return split
    return split_rows(
        tokenised.conversations,
        tokenised.similar,
        config.dataset.validation_split_percent,
        # which of two answers is better is a skill, however many rows say so
        "Skill" if config.objective.compares else config.dataset.teaches,
        _seed(config),
        workers,
    )


def _check(
    config: JobConfig, workspace: Workspace, copied: Copied, own: Copied, problems: ProblemLog, workers: Workers
) -> tuple[Checked, Mixed, Reviewed, Questions]:
    """Read and check everything that the user gave, before the model is touched."""
    pairs = config.objective.compares
    checked = check_sources(copied.copies, config.dataset, problems, pairs=pairs, workers=workers)
    questions = _copy_questions(config, workspace)
    # before bad rows end the job, so that what the good ones show is told with them
    mixed = _mix(config, checked, problems)
    rows = checked.conversations.select(mixed.kept)
    if own.copies:
        apart = check_sources(own.copies, config.dataset, problems, pairs=pairs, workers=workers)
        # behind the training rows, so that of two that say the same it is the training row that stays
        rows = rows.followed_by(apart.conversations)
        checked = checked.with_held_out(apart)
    reviewed = review(rows, config.dataset, questions.asked, problems, workers)
    require_few_bad_rows(problems, checked.rows, config.dataset.max_bad_rows_percent)
    _require_rows(len(mixed.kept), "has")
    _require_rows(len(reviewed.conversations), "keeps, without duplicates,")
    return checked, mixed, reviewed, questions


def _mix(config: JobConfig, checked: Checked, problems: ProblemLog) -> Mixed:
    """Hold sources to their shares, and tell of every row that is left out for it."""
    mixed = mix(checked.conversations, checked.origins, checked.read, config.dataset.train, _seed(config))
    for index in mixed.left_out:
        problems.reject("LeftOutByShare", checked.conversations[index].row)
    for source in mixed.sources:
        if source.used < source.wanted:
            problems.add("ShareNotReached", source.name)
    return mixed


def _servers(config: JobConfig) -> Servers:
    return Servers(
        config.https,
        Tracking(config.tracking, config.identity.namespace),
        config.dataset.cache,
        config.dataset.cache_gib,
    )


def _seed(config: JobConfig) -> int:
    return config.training.seed if config.training.seed is not None else planning.DEFAULT_SEED


def _situation(config: JobConfig, model: BaseModel, rows: TokenStore) -> Situation | None:
    if config.trainer:
        # what a trainer of the user's own needs, it alone knows
        return None
    sizes = RowSizes.of(zip(rows.lengths.tolist(), rows.trained.tolist(), strict=True))
    return Situation(read_shape(model.folder), sizes)


def _copy_questions(config: JobConfig, workspace: Workspace) -> Questions:
    copies: tuple[InputCopy, ...] = ()
    asked: tuple[Question, ...] = ()
    glossary = Glossary()

    def read(source: FileSource, target: Path, unreadable: StageFailure) -> tuple[InputCopy, str]:
        copy = copy_one(source, target, unreadable, workspace, _servers(config))
        return copy, read_text(copy, unreadable)

    if source := config.evaluation.questions:
        copy, text = read(source, workspace.questions, StageFailure.QUESTIONS_UNREADABLE)
        copies, asked = (copy,), parse_questions(text, source.name)
    if source := config.evaluation.glossary:
        copy, text = read(source, workspace.glossary, StageFailure.GLOSSARY_UNREADABLE)
        copies, glossary = (*copies, copy), parse_glossary(text, source.name)
    return Questions(copies, asked, glossary)


def _require_rows(rows: int, verb: str) -> None:
    if rows < MINIMUM_ROWS:
        message = f"the data set {verb} {rows} usable rows; at least {MINIMUM_ROWS} are needed"
        raise StageError(StageFailure.DATASET_TOO_SMALL, message, "add rows; some dozens are a useful start")


def _check_targets(config: JobConfig, model: BaseModel) -> None:
    modules = {part for weight in model.weights for part in weight.split(".")[:-1] if not part.isdigit()}
    for target in config.method.target_modules or ():
        if target != "all-linear" and target.rpartition(".")[2] not in modules:
            present = ", ".join(sorted(name for name in modules if name.endswith(("proj", "dense", "fc", "attn"))))
            message = f"method.lora.targetModules: {config.model.uri} has no module {target}"
            raise StageError(StageFailure.ARGUMENT_REFUSED, message, f"write all-linear, or some of: {present}")


def _require_trainable(tokenised: Tokenised, before: int) -> None:
    if not len(tokenised.tokens):
        message = f"no row has an answer within the first {tokenised.length} tokens, so there is nothing to learn"
        advice = f"set training.maxSequenceLength to {tokenised.longest}"
        raise StageError(StageFailure.NO_TRAINABLE_TOKENS, message, advice)
    if len(tokenised.conversations) < before:
        _require_rows(len(tokenised.conversations), "keeps, after cutting to training.maxSequenceLength,")


def _uses(tokenised: Tokenised, split: Split) -> dict[str, str]:
    """What each row that is kept is used for, by its place."""
    rows = tokenised.conversations
    parts = ((split.train, TRAINED), (split.validation, TESTED))
    return {rows[index].row: use for part, use in parts for index in part}


def _report(
    config: JobConfig,
    summary: PrepareSummary,
    checked: Checked,
    questions: tuple[InputCopy, ...],
    model: BaseModel,
    tokens: TokenStore,
    tracking: str,
) -> dict[str, Any]:
    return {
        **summary_to_dict(summary),
        "trained_tokens": int(tokens.trained.sum()),
        "token_histogram": token_histogram(tokens.lengths),
        "unused_columns": checked.unused_columns,
        "inputs": [_describe(copy) for copy in (*checked.copies, *questions)],
        "model": {
            "uri": config.model.uri,
            "revision": config.model.revision,
            "commit": model.commit,
            "architecture": model.architecture,
            "licence": model.licence,
        },
        "tracking": tracking,
    }


def _describe(copy: InputCopy) -> dict[str, Any]:
    return {"name": copy.name, "file": copy.path.name, "digest": copy.digest, "bytes": copy.size}


def _plain(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(problem) for problem in problems]


def _fitted(summary: PrepareSummary, shares: int) -> PrepareSummary:
    """The summary, less what a termination message has no room for; the report in the workspace keeps everything.

    The reasons of the readiness go first. `shares`: how many values at the end of the plan are shares. They go next:
    the other values are what the next attempt is planned by.
    """
    plan = summary.plan[: len(summary.plan) - shares]
    short = tuple(dataclasses.replace(problem, first_rows=_first_place(problem)) for problem in summary.problems)
    silent = tuple(dataclasses.replace(value, reason="") for value in plan)
    bare = tuple(dataclasses.replace(problem, advice="") for problem in short)
    if summary.readiness:
        # the verdict stays; why, the report says too
        brief = dataclasses.replace(summary, readiness=dataclasses.replace(summary.readiness, reasons=()))
    else:
        brief = summary
    candidates = [
        summary,
        brief,
        dataclasses.replace(summary, plan=plan),
        dataclasses.replace(summary, problems=short, plan=plan),
        dataclasses.replace(summary, problems=short, plan=silent),
        dataclasses.replace(summary, problems=bare, plan=silent),
        dataclasses.replace(summary, problems=(), plan=silent),
    ]
    return next(
        (candidate for candidate in candidates if _fits(candidate)),
        dataclasses.replace(summary, problems=(), plan=(), readiness=None),
    )


def _first_place(problem: Problem) -> tuple[str, ...]:
    return tuple(
        place if len(place) <= _PLACE_LENGTH else f"...{place[-_PLACE_LENGTH:]}" for place in problem.first_rows[:1]
    )


def _fits(summary: PrepareSummary) -> bool:
    document = summary_to_dict(summary)
    report = StageReport(outcome=Outcome.DONE, summary=document)
    text = report.to_json()
    return len(text.encode()) <= TERMINATION_MESSAGE_LIMIT and StageReport.from_json(text).summary != {}
