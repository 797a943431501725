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
from vernacular_trainer.data.base_model import BaseModel, downloaded, provide
from vernacular_trainer.data.chat import TokenRow, encode, load_tokenizer, token_histogram
from vernacular_trainer.data.files import InputCopy, combined_digest, copy_input, read_text, write_bytes, write_json
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import parse_questions, questions_of_rows
from vernacular_trainer.data.rows import ADVICE, Conversation, RowError
from vernacular_trainer.data.sources import Checked, check_sources, copy_sources, schema_error
from vernacular_trainer.data.split import Split, split_rows
from vernacular_trainer.data.table import write_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.fitting import Situation
from vernacular_trainer.memory import RowSizes
from vernacular_trainer.model_shape import read_shape
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.tracking.rights import AWAY, check_rights
from vernacular_trainer.workspace import Workspace

# below this a split leaves nothing to learn from, and mistakes like a wrong key look like a tiny data set
MINIMUM_ROWS = 8
# without questions of the user, so many held-out rows are asked: more only makes the evaluation slow
HELD_OUT_QUESTIONS = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenised:
    """Usable rows and their tokens, row by row, cut to `length` tokens; `dropped` rows had nothing left to learn."""

    conversations: list[Conversation]
    rows: list[list[TokenRow]]
    length: int
    longest: int
    dropped: int


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
    checked = check_sources(copies, problems)
    questions = _copy_questions(config, workspace)
    _require_rows(len(checked.conversations), "has")
    phases.enter(Phase.DOWNLOADING, lambda: downloaded(config.model))
    model = provide(config.model)
    _check_targets(config, model)
    phases.enter(Phase.TOKENISING)
    tokenised = _tokenise(config, model, checked, problems)
    split = split_rows(
        tokenised.conversations,
        config.dataset.validation_split_percent,
        config.dataset.teaches,
        config.training.seed if config.training.seed is not None else planning.DEFAULT_SEED,
    )
    _note_split(split, tokenised, bool(questions), problems)
    train, validation = _pick(tokenised, split.train), _pick(tokenised, split.validation)
    facts = planning.DataFacts(
        len(train), len(validation), tokenised.longest, model.max_length, _situation(config, model, train)
    )
    resolved = planning.resolve(config, facts)
    plan = resolved.plan
    tracking = check_rights(config)
    if tracking == AWAY:
        log.warning("MLflow does not answer now; training waits for it")

    if not questions:
        _write_held_out_questions(tokenised, split, workspace)
    write_rows(workspace.train_rows, train)
    write_rows(workspace.validation_rows, validation)
    write_json(workspace.plan, dataclasses.asdict(plan))
    write_json(workspace.inputs / "inputs.json", [_describe(copy) for copy in (*copies, *questions)])
    summary = PrepareSummary(
        rows=len(checked.conversations),
        dropped=tokenised.dropped,
        duplicates=problems.count("Duplicate"),
        train=len(split.train),
        validation=len(split.validation),
        tokens=sum(len(row.input_ids) for row in train),
        digest=combined_digest([*copies, *questions]),
        total_steps=plan.total_steps,
        plan_summary=planning.summarise(plan),
        plan=resolved.values,
        problems=problems.problems(),
    )
    write_json(
        workspace.data_report, _report(config, summary, checked, questions, model, [*train, *validation], tracking)
    )
    return _fitted(summary)


def _situation(config: JobConfig, model: BaseModel, rows: list[TokenRow]) -> Situation | None:
    if config.trainer:
        # what a trainer of the user's own needs, it alone knows
        return None
    return Situation(read_shape(model.folder), RowSizes.of((len(row.input_ids), row.trained) for row in rows))


def _copy_questions(config: JobConfig, workspace: Workspace) -> tuple[InputCopy, ...]:
    source = config.evaluation.questions
    if source is None:
        return ()
    unreadable = StageFailure.QUESTIONS_UNREADABLE
    copy = copy_input(source, workspace.questions, unreadable, unreadable)
    parse_questions(read_text(copy, unreadable), source.name)
    return (copy,)


def _write_held_out_questions(tokenised: Tokenised, split: Split, workspace: Workspace) -> None:
    """Without questions of the user, the evaluation asks what the held-out rows ask."""
    held_out = (tokenised.conversations[index] for index in split.validation[:HELD_OUT_QUESTIONS])
    write_bytes(workspace.questions, questions_of_rows(held_out).encode())


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


def _tokenise(config: JobConfig, model: BaseModel, checked: Checked, problems: ProblemLog) -> Tokenised:
    tokenizer = load_tokenizer(model.folder, config.model.uri)
    encoded: list[list[TokenRow]] = []
    refused: str | None = None
    everything = config.training.loss == planning.ALL_TOKENS
    for conversation in checked.conversations:
        try:
            rows = encode(tokenizer, conversation)
            encoded.append([row.fully_trained() for row in rows] if everything else rows)
        except RowError as error:
            problems.add(error.code, conversation.row, ADVICE[error.code])
            refused = refused or conversation.row
    if refused:
        raise schema_error(refused, "TemplateRefused", problems)
    longest = max(len(row.input_ids) for rows in encoded for row in rows)
    length, _ = planning.sequence_length(config.training, longest, model.max_length)
    return _cut(checked, encoded, length, longest, problems)


def _cut(checked: Checked, encoded: list[list[TokenRow]], length: int, longest: int, problems: ProblemLog) -> Tokenised:
    conversations, kept = [], []
    for conversation, rows in zip(checked.conversations, encoded, strict=True):
        usable = [cut for row in rows if (cut := row.cut(length)).trained]
        if not usable:
            advice = f"raise training.maxSequenceLength above {length}, or shorten the text before the answer"
            problems.add("AnswerCutAway", conversation.row, advice)
            continue
        if any(len(row.input_ids) > length for row in rows):
            advice = f"raise training.maxSequenceLength to {longest}, or shorten the row: the end of its answer is lost"
            problems.add("AnswerCut", conversation.row, advice)
        conversations.append(conversation)
        kept.append(usable)
    if not kept:
        message = f"no row has an answer within the first {length} tokens, so there is nothing to learn"
        raise StageError(StageFailure.NO_TRAINABLE_TOKENS, message, f"set training.maxSequenceLength to {longest}")
    dropped = len(encoded) - len(kept)
    if dropped:
        _require_rows(len(kept), "keeps, after cutting to training.maxSequenceLength,")
    return Tokenised(conversations, kept, length, longest, dropped)


def _note_split(split: Split, tokenised: Tokenised, has_questions: bool, problems: ProblemLog) -> None:
    for index in split.untaught:
        advice = (
            "write each fact in two or more wordings, or set dataset.validation.splitPercent to 0 and give questions"
        )
        problems.add("HeldOutNotTaught", tokenised.conversations[index].row, advice)
    if not split.validation and not has_questions:
        advice = "give evaluation.questions, or a dataset.validation.splitPercent above 0"
        problems.add("NothingHeldOut", "", advice)


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
    candidates = [
        summary,
        dataclasses.replace(summary, problems=short),
        dataclasses.replace(summary, problems=short, plan=silent),
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
