"""`python -m vernacular_trainer check FILE...`: the checks of prepare on rows alone, without job, model or cluster.

What needs the model stays out: tokens, truncation, the chat template.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vernacular_trainer.cgroup import available_cores, memory_limit
from vernacular_trainer.contract import DatasetConfig, FileSource, Problem, StageFailure
from vernacular_trainer.data.bad_rows import require_few_bad_rows
from vernacular_trainer.data.exports import write_clean_rows, write_rejected_rows
from vernacular_trainer.data.files import copy_input, read_text
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.held_out import ask_held_out, note_split, provable_gain, write_missing_wordings
from vernacular_trainer.data.overview import Overview, overview
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question, parse_questions, pieces
from vernacular_trainer.data.readiness import described
from vernacular_trainer.data.report import sample_texts, write_report
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.sources import check_sources, copy_sources
from vernacular_trainer.data.split import Split, provable_points, split_rows
from vernacular_trainer.data.workers import Workers, process_count
from vernacular_trainer.planning import DEFAULT_SEED
from vernacular_trainer.workspace import Workspace


@dataclass(frozen=True)
class Wanted:
    """What to check: files of rows, what their format teaches, questions beside them, and where reports go (None: only
    what is printed).
    """

    files: tuple[Path, ...]
    objective: str = "SFT"
    teaches: str = "Facts"
    format: str = "Auto"
    questions: Path | None = None
    reports: Path | None = None


def check_files(wanted: Wanted, out: TextIO) -> None:
    """Print what is found, and write the reports that prepare writes.

    Raises StageError where prepare would end the job, after everything was printed.
    """
    config = DatasetConfig(
        tuple(FileSource(str(file), str(file)) for file in wanted.files), wanted.teaches, format=wanted.format
    )
    problems = ProblemLog()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        try:
            with Workers(process_count(available_cores(), memory_limit())) as workers:
                _check(wanted, config, workspace, problems, workers, out)
        finally:
            write_rejected_rows(workspace.rejected_rows, problems.rejected)
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
    checked = check_sources(copies, config, problems, pairs=pairs, workers=workers)
    reviewed = review(checked.conversations, config, asked, problems, workers)
    split = split_rows(
        reviewed.conversations,
        reviewed.similar,
        config.validation_split_percent,
        "Skill" if pairs else wanted.teaches,
        DEFAULT_SEED,
        workers,
    )
    number = pieces(asked) or ask_held_out(reviewed.conversations, split, workspace)
    note_split(reviewed.conversations, split, number, problems)
    write_missing_wordings(reviewed.conversations, split, workspace, workers)
    write_clean_rows(workspace.clean_rows, reviewed.conversations, workers)
    facts = wanted.teaches == "Facts" and not pairs
    whole = overview(reviewed.conversations, split, facts=facts, problems=problems)
    _report(workspace, checked.rows, reviewed, split, number, problems, whole)
    out.writelines(_lines(checked.rows, len(reviewed.conversations), split, number, problems.problems(), whole))
    require_few_bad_rows(problems, checked.rows, config.max_bad_rows_percent)


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
) -> None:
    write_report(
        {
            "rows": rows,
            "dropped": len(problems.rejected),
            "duplicates": problems.count("Duplicate"),
            "train": len(split.train),
            "validation": len(split.validation),
            "problems": [dataclasses.asdict(problem) for problem in problems.problems()],
            "held_out": {"questions": questions, "provable_points": provable_points(questions)},
            "personal_data": reviewed.personal_data,
            "samples": sample_texts(reviewed.samples),
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
