"""Reads and checks all training sources: every bad row is found before the job fails, not only the first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from vernacular_trainer.contract import DatasetConfig, FileSource, StageFailure
from vernacular_trainer.data.files import InputCopy, copy_input
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.reading.files import read_records
from vernacular_trainer.data.reading.record import Record
from vernacular_trainer.data.remote.fetch import fetch, list_source
from vernacular_trainer.data.rows import Conversation, RowError, with_system_prompt
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

_SUFFIXES = re.compile(r"(\.[A-Za-z0-9]{1,8}){0,2}$")


@dataclass(frozen=True)
class Checked:
    """All readable rows in the order of the files, the copies they came from, columns that were not used, and how many
    rows there were.
    """

    conversations: tuple[Conversation, ...]
    copies: tuple[InputCopy, ...]
    unused_columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Copied:
    """Copies of all training files in their order, and the names of files in named folders that are no rows."""

    copies: tuple[InputCopy, ...]
    ignored: tuple[str, ...] = ()


def copy_sources(sources: tuple[FileSource, ...], workspace: Workspace) -> Copied:
    """Copy the training files into the workspace.

    Raises StageError (DatasetNotFound, DatasetUnreadable, DatasetAccessDenied, SecretMissing, SourceUnavailable).
    """
    copies: list[InputCopy] = []
    ignored: list[str] = []
    for number, source in enumerate(sources):
        target = workspace.inputs / f"train-{number}"
        if source.uri:
            listing = list_source(source, StageFailure.DATASET_NOT_FOUND)
            names = [f"train-{number}-{part:05}{_suffix(file.name)}" for part, file in enumerate(listing.files)]
            copies += [
                fetch(file, target.with_name(name), workspace) for file, name in zip(listing.files, names, strict=True)
            ]
            ignored += listing.ignored
        else:
            target = target.with_name(f"{target.name}{_suffix(source.path)}")
            missing, unreadable = StageFailure.DATASET_NOT_FOUND, StageFailure.DATASET_UNREADABLE
            copies.append(copy_input(source, target, missing, unreadable))
    return Copied(tuple(copies), tuple(ignored))


def check_sources(
    copies: tuple[InputCopy, ...], config: DatasetConfig, problems: ProblemLog, *, pairs: bool = False
) -> Checked:
    """Parse every row of every copy; what is wrong goes to `problems`. `pairs`: every row is to be a preference, else
    none may be.

    Raises StageError (DatasetUnreadable, DatasetTooSmall) when a file as a whole is of no use.
    """
    conversations: list[Conversation] = []
    unused: set[str] = set()
    rows = 0
    for copy in copies:
        before = rows
        for record in read_records(copy.path, copy.name, config.columns):
            rows += 1
            try:
                conversation, ignored = _parse(record, config, pairs=pairs)
                conversations.append(conversation)
                unused |= ignored
            except RowError as error:
                problems.reject(error.code, record.row)
        if rows == before:
            message = f"{copy.name} is empty"
            raise StageError(StageFailure.DATASET_TOO_SMALL, message, "write at least one row into it")
    return Checked(tuple(conversations), copies, tuple(sorted(unused)), rows)


def _suffix(path: str) -> str:
    found = _SUFFIXES.search(PurePosixPath(path).name)
    return (found.group() if found else "") or ".jsonl"


def _parse(record: Record, config: DatasetConfig, *, pairs: bool) -> tuple[Conversation, frozenset[str]]:
    if record.error:
        raise RowError(record.error)
    parsed = parse_row(record.value, config.format, pairs=pairs)
    if (parsed.rejected is not None) != pairs:
        raise RowError("PreferenceMissing" if pairs else "PreferenceUnexpected")
    messages = parsed.messages if parsed.plain else with_system_prompt(parsed.messages, config.system_prompt)
    return Conversation(record.row, messages, parsed.tools, parsed.plain, parsed.rejected), parsed.unused
