"""`python -m vernacular_trainer check FILE...`: the checks of prepare on rows alone, without job, model or cluster.

What needs the model stays out: tokens, truncation, the chat template.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from vernacular_trainer.cgroup import available_cores, memory_limit
from vernacular_trainer.contract import DatasetConfig, FileSource, Problem, StageFailure
from vernacular_trainer.data.bad_rows import require_few_bad_rows
from vernacular_trainer.data.exports import write_clean_rows, write_rejected_rows
from vernacular_trainer.data.files import copy_input, read_text
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.held_out import ask_held_out, note_split, provable_gain, write_missing_wordings
from vernacular_trainer.data.overview import Overview, overview
from vernacular_trainer.data.own_validation import own_split, require_apart
from vernacular_trainer.data.places import Places
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question, parse_questions, pieces
from vernacular_trainer.data.readiness import described
from vernacular_trainer.data.report import sample_texts, write_report
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.sources import Checked, check_sources, copy_sources
from vernacular_trainer.data.split import Split, provable_points, split_rows
from vernacular_trainer.data.topics import note_topics, topics_of
from vernacular_trainer.data.workers import Workers, process_count
from vernacular_trainer.planning import DEFAULT_SEED
from vernacular_trainer.workspace import Workspace


@dataclass(frozen=True)
class Wanted:
    """What to check: files of rows, what their format teaches, questions beside them, and where reports go (None: only
    what is printed). `validation`: files of rows that are held out; when there are none, a part of the others is.
    `columns`: as in spec.dataset.columns.
    """

    files: tuple[Path, ...]
    objective: str = "SFT"
    teaches: str = "Facts"
    format: str = "Auto"
    questions: Path | None = None
    reports: Path | None = None
    validation: tuple[Path, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)


def check_files(wanted: Wanted, out: TextIO) -> None:
    """Print what is found, and write the reports that prepare writes.

    Raises StageError where prepare would end the job, after everything was printed.
    """
    train, validation = (
        tuple(FileSource(str(file), str(file)) for file in files) for files in (wanted.files, wanted.validation)
    )
    config = DatasetConfig(train, wanted.teaches, format=wanted.format, columns=wanted.columns, validation=validation)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        problems = ProblemLog(Places(workspace.inputs))
        try:
            with Workers(process_count(available_cores(), memory_limit())) as workers:
                _check(wanted, config, workspace, problems, workers, out)
        finally:
            write_rejected_rows(workspace.rejected_rows, problems.rejected)
            problems.places.save(workspace.findings)
            if wanted.reports:
                _hand_over(workspace, wanted.reports, out)


def _check(
    wanted: Wanted,
    config: DatasetConfig,
    workspace: Workspace,
    problems: ProblemLog,
    workers: Workers,
    out: TextIO,
) -> None:
    pairs = wanted.objective == "DPO"
    asked = _questions(wanted.questions, workspace)
    copies = copy_sources(config.train, workspace).copies
    own = copy_sources(config.validation, workspace, use="validation").copies
    require_apart(copies, own)
    checked = check_sources(copies, config, problems, pairs=pairs, workers=workers)
    rows = checked.conversations
    if own:
        apart = check_sources(own, config, problems, pairs=pairs, workers=workers)
        rows, checked = rows.followed_by(apart.conversations), checked.with_held_out(apart)
    reviewed = review(rows, config, asked, problems, workers)
    split = _split(wanted, config, reviewed, checked, problems, workers)
    topics = topics_of(reviewed.conversations, workers)
    number = pieces(asked) or ask_held_out(reviewed.conversations, split, workspace, topics.names)
    of_topics = note_topics(topics, reviewed.conversations, split, problems)
    note_split(reviewed.conversations, split, number, problems)
    write_missing_wordings(reviewed.conversations, split, workspace, workers)
    write_clean_rows(workspace.clean_rows, reviewed.conversations, workers)
    facts = wanted.teaches == "Facts" and not pairs
    whole = overview(reviewed.conversations, split, facts=facts, problems=problems)
    _report(workspace, checked.rows, reviewed, split, number, problems, whole, of_topics)
    out.writelines(_lines(checked.rows, len(reviewed.conversations), split, number, problems.problems(), whole))
    require_few_bad_rows(problems, checked.rows, config.max_bad_rows_percent)


def _split(
    wanted: Wanted,
    config: DatasetConfig,
    reviewed: Reviewed,
    checked: Checked,
    problems: ProblemLog,
    workers: Workers,
) -> Split:
    """What is held out: the rows of files that are named for it, else a part of the others."""
    if config.validation:
        return own_split(reviewed.conversations, frozenset(row.row for row in checked.held_out), problems)
    return split_rows(
        reviewed.conversations,
        reviewed.similar,
        config.validation_split_percent,
        "Skill" if wanted.objective == "DPO" else wanted.teaches,
        DEFAULT_SEED,
        workers,
    )


def _questions(path: Path | None, workspace: Workspace) -> tuple[Question, ...]:
    if path is None:
        return ()
    unreadable = StageFailure.QUESTIONS_UNREADABLE
    copy = copy_input(FileSource(str(path), str(path)), workspace.questions, unreadable, unreadable)
    return parse_questions(read_text(copy, unreadable), str(path))


def _report(
    workspace: Workspace,
    rows: int,
    reviewed: Reviewed,
    split: Split,
    questions: int,
    problems: ProblemLog,
    whole: Overview,
    topics: list[dict[str, Any]],
) -> None:
    write_report(
        {
            "rows": rows,
            "dropped": len(problems.rejected),
            "duplicates": problems.count("Duplicate"),
            "train": len(split.train),
            "validation": len(split.validation),
            "places": problems.places.count,
            "problems": [dataclasses.asdict(problem) for problem in problems.problems()],
            "held_out": {"questions": questions, "provable_points": provable_points(questions)},
            "personal_data": reviewed.personal_data,
            "samples": sample_texts(reviewed.samples),
            "topics": topics,
            **whole.report(),
        },
        workspace,
    )


def _lines(
    rows: int, kept: int, split: Split, questions: int, problems: Sequence[Problem], whole: Overview
) -> list[str]:
    gain = provable_gain(questions)
    lines = [
        f"{rows} rows: {kept} can be used, {rows - kept} cannot",
        f"held out for the test: {len(split.validation)}; provable gain: {gain.value} ({gain.reason})",
        described(whole.readiness),
    ]
    for problem in problems:
        places = f" ({', '.join(problem.first_rows)})" if problem.first_rows else ""
        lines += [
            "",
            f"{problem.severity}: {problem.count} x {FINDINGS[problem.code].what} [{problem.code}]{places}",
            f"    {problem.advice}",
        ]
    return [line + "\n" for line in lines]


def _hand_over(workspace: Workspace, target: Path, out: TextIO) -> None:
    """Copy the reports to where the user wants them."""
    files = (
        workspace.data_page,
        workspace.data_report,
        workspace.findings,
        workspace.clean_rows,
        workspace.rejected_rows,
        workspace.questions_to_write,
    )
    target.mkdir(parents=True, exist_ok=True)
    written = [file for file in files if file.exists()]
    for file in written:
        shutil.copyfile(file, target / file.name)
    if written:
        out.write(f"\nwritten to {target}: {', '.join(file.name for file in written)}\n")
