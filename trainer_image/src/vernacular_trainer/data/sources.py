"""Reads and checks all training sources: every bad row is found before the job fails, not only the first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from vernacular_trainer.contract import DatasetConfig, FileSource, StageFailure
from vernacular_trainer.data.files import InputCopy, copy_input
from vernacular_trainer.data.findings import FINDINGS, Severity
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.reading.files import read_records
from vernacular_trainer.data.reading.record import Record, described
from vernacular_trainer.data.rows import Conversation, RowError, with_system_prompt
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

_SUFFIXES = re.compile(r"(\.[A-Za-z0-9]{1,8}){0,2}$")


@dataclass(frozen=True)
class Checked:
    """All usable rows in the order of the files, the copies they came from, and columns that were not used."""

    conversations: tuple[Conversation, ...]
    copies: tuple[InputCopy, ...]
    unused_columns: tuple[str, ...]


def copy_sources(sources: tuple[FileSource, ...], workspace: Workspace) -> tuple[InputCopy, ...]:
    """Copy the training files into the workspace. Raises StageError (DatasetNotFound, DatasetUnreadable)."""
    return tuple(
        copy_input(
            source,
            workspace.inputs / f"train-{number}{_suffix(source.path)}",
            StageFailure.DATASET_NOT_FOUND,
            StageFailure.DATASET_UNREADABLE,
        )
        for number, source in enumerate(sources)
    )


def check_sources(copies: tuple[InputCopy, ...], config: DatasetConfig, problems: ProblemLog) -> Checked:
    """Parse every row of every copy; what is wrong goes to `problems`. Raises StageError (DatasetSchema,
    DatasetUnreadable, DatasetTooSmall) after all rows were seen.
    """
    conversations: list[Conversation] = []
    unused: set[str] = set()
    first_bad: tuple[str, str] | None = None
    for copy in copies:
        empty = True
        for record in read_records(copy.path, copy.name):
            empty = False
            try:
                conversation, ignored = _parse(record, config)
                conversations.append(conversation)
                unused |= ignored
            except RowError as error:
                problems.add(error.code, record.row)
                first_bad = first_bad or (record.row, error.code)
        if empty:
            message = f"{copy.name} is empty"
            raise StageError(StageFailure.DATASET_TOO_SMALL, message, "write at least one row into it")
    if first_bad:
        raise schema_error(*first_bad, problems)
    _count_duplicates(conversations, problems)
    return Checked(tuple(conversations), copies, tuple(sorted(unused)))


def schema_error(row: str, code: str, problems: ProblemLog) -> StageError:
    """The error for the first bad row `row`, with all findings so far as evidence."""
    found = problems.problems()
    bad = sum(problem.count for problem in found if FINDINGS[problem.code].severity is Severity.ERROR)
    others = f" ({bad - 1} more bad {'row' if bad == 2 else 'rows'})" if bad > 1 else ""
    evidence = "; ".join(f"{p.code} x{p.count}: {', '.join(p.first_rows)}" for p in found)
    message = f"{described(row)}: {FINDINGS[code].what}{others}"
    failure = StageFailure.DATASET_UNREADABLE if code == "NotUtf8" else StageFailure.DATASET_SCHEMA
    return StageError(failure, message, FINDINGS[code].advice, evidence)


def _suffix(path: str) -> str:
    found = _SUFFIXES.search(PurePosixPath(path).name)
    return (found.group() if found else "") or ".jsonl"


def _parse(record: Record, config: DatasetConfig) -> tuple[Conversation, frozenset[str]]:
    if record.error:
        raise RowError(record.error)
    parsed = parse_row(record.value, config.format, config.columns)
    messages = parsed.messages if parsed.plain else with_system_prompt(parsed.messages, config.system_prompt)
    return Conversation(record.row, messages, parsed.tools, parsed.plain), parsed.unused


def _count_duplicates(conversations: list[Conversation], problems: ProblemLog) -> None:
    seen: set[str] = set()
    for conversation in conversations:
        digest = conversation.digest
        if digest in seen:
            problems.add("Duplicate", conversation.row)
        seen.add(digest)
