"""Stage 1, on a CPU pod without torch: copy and check every input, tokenise, split, choose the plan, check rights.

Whatever can be wrong with a job is found here, before a GPU is asked for.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

from vernacular_trainer import planning
from vernacular_trainer.contract import (
    TERMINATION_MESSAGE_LIMIT,
    JobConfig,
    Outcome,
    Phase,
    PrepareSummary,
    Problem,
    StageFailure,
    StageReport,
    summary_to_dict,
)
from vernacular_trainer.data.bad_rows import require_few_bad_rows
from vernacular_trainer.data.base_model import BaseModel, downloaded, provide
from vernacular_trainer.data.chat import TokenRow, encode, load_tokenizer, token_histogram
from vernacular_trainer.data.files import InputCopy, combined_digest, copy_input, read_text, write_json
from vernacular_trainer.data.held_out import ask_held_out, note_split, provable_gain, write_missing_wordings
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question, parse_questions
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.rows import Conversation, RowError
from vernacular_trainer.data.sources import Checked, check_sources, copy_sources
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.data.table import write_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.tracking.rights import AWAY, check_rights
from vernacular_trainer.workspace import Workspace

# below this a split leaves nothing to learn from, and mistakes like a wrong key look like a tiny data set
MINIMUM_ROWS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenised:
    """Usable rows and their tokens, row by row, cut to `length` tokens. `similar`: pairs that ask nearly the same."""

    conversations: list[Conversation]
    similar: list[tuple[int, int]]
    rows: list[list[TokenRow]]
    length: int
    longest: int


def run(config: JobConfig, workspace: Workspace) -> PrepareSummary:
    """Do the stage; safe to repeat. Raises StageError for everything a user can fix."""
    problems = ProblemLog()
    try:
        with reporting(config) as phases:
            return _prepare(config, workspace, problems, phases)
    except StageError:
        if problems.problems():
            write_json(workspace.data_report, {"problems": _plain(problems.problems())})
        raise


def _prepare(config: JobConfig, workspace: Workspace, problems: ProblemLog, phases: PhaseReporter) -> PrepareSummary:
    phases.enter(Phase.CHECKING_DATA)
    copies = copy_sources(config.dataset.train, workspace)
    checked = check_sources(copies, config.dataset, problems)
    require_few_bad_rows(problems, checked.rows, config.dataset.max_bad_rows_percent)
    questions, asked = _copy_questions(config, workspace)
    _require_rows(len(checked.conversations), "has")
    reviewed = review(checked.conversations, config.dataset, asked, problems)
    _require_rows(len(reviewed.conversations), "keeps, without duplicates,")
    phases.enter(Phase.DOWNLOADING, lambda: downloaded(config.model))
    model = provide(config.model)
    _check_targets(config, model)
    phases.enter(Phase.TOKENISING)
    tokenised = _tokenise(config, model, reviewed, problems)
    require_few_bad_rows(problems, checked.rows, config.dataset.max_bad_rows_percent)
    _require_trainable(tokenised, len(reviewed.conversations))
    split = split_rows(
        tokenised.conversations,
        tokenised.similar,
        config.dataset.validation_split_percent,
        config.dataset.teaches,
        config.training.seed if config.training.seed is not None else planning.DEFAULT_SEED,
    )
    number = len(asked) if questions else ask_held_out(tokenised.conversations, split, workspace)
    note_split(tokenised.conversations, split, number, problems)
    write_missing_wordings(tokenised.conversations, split, workspace)
    train, validation = _pick(tokenised, split.train), _pick(tokenised, split.validation)
    facts = planning.DataFacts(len(train), len(validation), tokenised.longest, model.max_length)
    plan, values = planning.resolve(config, facts)
    values = (*values, provable_gain(number))
    tracking = check_rights(config)
    if tracking == AWAY:
        log.warning("MLflow does not answer now; training waits for it")

    write_rows(workspace.train_rows, train)
    write_rows(workspace.validation_rows, validation)
    write_json(workspace.plan, dataclasses.asdict(plan))
    write_json(workspace.inputs / "inputs.json", [_describe(copy) for copy in (*copies, *questions)])
    summary = PrepareSummary(
        rows=checked.rows,
        dropped=len(problems.rejected),
        duplicates=problems.count("Duplicate"),
        train=len(split.train),
        validation=len(split.validation),
        tokens=sum(len(row.input_ids) for row in train),
        digest=combined_digest([*copies, *questions]),
        total_steps=plan.total_steps,
        plan_summary=planning.summarise(plan),
        plan=values,
        problems=problems.problems(),
    )
    write_json(
        workspace.data_report, _report(config, summary, checked, questions, model, [*train, *validation], tracking)
    )
    return _fitted(summary)


def _copy_questions(config: JobConfig, workspace: Workspace) -> tuple[tuple[InputCopy, ...], tuple[Question, ...]]:
    source = config.evaluation.questions
    if source is None:
        return (), ()
    unreadable = StageFailure.QUESTIONS_UNREADABLE
    copy = copy_input(source, workspace.questions, unreadable, unreadable)
    return (copy,), parse_questions(read_text(copy, unreadable), source.name)


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


def _tokenise(config: JobConfig, model: BaseModel, reviewed: Reviewed, problems: ProblemLog) -> Tokenised:
    tokenizer = load_tokenizer(model.folder, config.model.uri)
    encoded: dict[int, list[TokenRow]] = {}
    everything = config.training.loss == planning.ALL_TOKENS
    for index, conversation in enumerate(reviewed.conversations):
        try:
            rows = encode(tokenizer, conversation)
        except RowError as error:
            problems.reject(error.code, conversation.row)
            continue
        encoded[index] = [row.fully_trained() for row in rows] if everything else rows
    longest = max((len(row.input_ids) for rows in encoded.values() for row in rows), default=0)
    length, _ = planning.sequence_length(config.training, longest, model.max_length)
    kept = _cut(reviewed, encoded, length, longest, problems)
    place = {index: number for number, index in enumerate(kept)}
    similar = [(place[a], place[b]) for a, b in reviewed.similar if a in place and b in place]
    return Tokenised([reviewed.conversations[index] for index in kept], similar, [*kept.values()], length, longest)


def _cut(
    reviewed: Reviewed, encoded: dict[int, list[TokenRow]], length: int, longest: int, problems: ProblemLog
) -> dict[int, list[TokenRow]]:
    kept: dict[int, list[TokenRow]] = {}
    for index, rows in encoded.items():
        place = reviewed.conversations[index].row
        trainable = [cut for row in rows if (cut := row.cut(length)).trained]
        if not trainable:
            advice = f"raise training.maxSequenceLength above {length}, or shorten the text before the answer"
            problems.reject("AnswerCutAway", place, advice)
            continue
        if any(len(row.input_ids) > length for row in rows):
            advice = f"raise training.maxSequenceLength to {longest}, or shorten the row: the end of its answer is lost"
            problems.add("AnswerCut", place, advice)
        kept[index] = trainable
    return kept


def _require_trainable(tokenised: Tokenised, before: int) -> None:
    if not tokenised.rows:
        message = f"no row has an answer within the first {tokenised.length} tokens, so there is nothing to learn"
        advice = f"set training.maxSequenceLength to {tokenised.longest}"
        raise StageError(StageFailure.NO_TRAINABLE_TOKENS, message, advice)
    if len(tokenised.rows) < before:
        _require_rows(len(tokenised.rows), "keeps, after cutting to training.maxSequenceLength,")


def _pick(tokenised: Tokenised, indexes: tuple[int, ...]) -> list[TokenRow]:
    return [row for index in indexes for row in tokenised.rows[index]]


def _report(
    config: JobConfig,
    summary: PrepareSummary,
    checked: Checked,
    questions: tuple[InputCopy, ...],
    model: BaseModel,
    rows: list[TokenRow],
    tracking: str,
) -> dict[str, Any]:
    return {
        **summary_to_dict(summary),
        "trained_tokens": sum(row.trained for row in rows),
        "token_histogram": token_histogram([len(row.input_ids) for row in rows]),
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


def _fitted(summary: PrepareSummary) -> PrepareSummary:
    """The summary, less what a termination message has no room for; the report in the workspace keeps everything."""
    short = tuple(dataclasses.replace(problem, first_rows=problem.first_rows[:1]) for problem in summary.problems)
    silent = tuple(dataclasses.replace(value, reason="") for value in summary.plan)
    bare = tuple(dataclasses.replace(problem, advice="") for problem in short)
    candidates = [
        summary,
        dataclasses.replace(summary, problems=short),
        dataclasses.replace(summary, problems=short, plan=silent),
        dataclasses.replace(summary, problems=bare, plan=silent),
        dataclasses.replace(summary, problems=(), plan=silent),
    ]
    return next(
        (candidate for candidate in candidates if _fits(candidate)), dataclasses.replace(summary, problems=(), plan=())
    )


def _fits(summary: PrepareSummary) -> bool:
    document = summary_to_dict(summary)
    report = StageReport(outcome=Outcome.DONE, summary=document)
    text = report.to_json()
    return len(text.encode()) <= TERMINATION_MESSAGE_LIMIT and StageReport.from_json(text).summary != {}
