"""Reads and checks all training sources: every bad row is found before the job fails, not only the first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from vernacular_trainer.contract import FileSource, StageFailure
from vernacular_trainer.data.files import InputCopy, copy_input, read_text
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.rows import ADVICE, Conversation, RowError, parse_row, unused_columns
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace


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
            workspace.inputs / f"train-{number}.jsonl",
            StageFailure.DATASET_NOT_FOUND,
            StageFailure.DATASET_UNREADABLE,
        )
        for number, source in enumerate(sources)
    )


def check_sources(copies: tuple[InputCopy, ...], problems: ProblemLog) -> Checked:
    """Parse every row of every copy; what is wrong goes to `problems`. Raises StageError (DatasetSchema,
    DatasetUnreadable, DatasetTooSmall) after all rows were seen.
    """
    conversations: list[Conversation] = []
    unused: set[str] = set()
    first_bad: tuple[str, str] | None = None
    for copy in copies:
        for number, line in _lines(copy):
            row = f"{copy.name}:{number}"
            try:
                value = _parse_json(line)
                conversations.append(Conversation(row, parse_row(value)))
                unused |= unused_columns(value)
            except RowError as error:
                problems.add(error.code, row, ADVICE[error.code])
                first_bad = first_bad or (row, error.code)
    if first_bad:
        raise schema_error(*first_bad, problems)
    _count_duplicates(conversations, problems)
    return Checked(tuple(conversations), copies, tuple(sorted(unused)))


def schema_error(row: str, code: str, problems: ProblemLog) -> StageError:
    """The error for the first bad row `row` ("file:line"), with all findings so far as evidence."""
    name, _, line = row.rpartition(":")
    bad = sum(problem.count for problem in problems.problems() if problem.code in ADVICE)
    others = f" ({bad - 1} more bad {'row' if bad == 2 else 'rows'})" if bad > 1 else ""
    evidence = "; ".join(f"{p.code} x{p.count}: {', '.join(p.first_rows)}" for p in problems.problems())
    message = f"{name}, line {line}: {_WHAT[code]}{others}"
    return StageError(StageFailure.DATASET_SCHEMA, message, ADVICE[code], evidence)


def _lines(copy: InputCopy) -> list[tuple[int, str]]:
    text = read_text(copy, StageFailure.DATASET_UNREADABLE)
    # not splitlines(): JSON strings may hold U+2028 and its like unescaped
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        message = f"{copy.name} is empty"
        raise StageError(StageFailure.DATASET_TOO_SMALL, message, "write at least one JSON object per line into it")
    return lines


def _parse_json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise RowError("BrokenJson") from None


def _count_duplicates(conversations: list[Conversation], problems: ProblemLog) -> None:
    seen: set[str] = set()
    for conversation in conversations:
        digest = conversation.digest
        if digest in seen:
            problems.add("Duplicate", conversation.row, "remove repeated rows unless they shall weigh more")
        seen.add(digest)


_WHAT = {
    "BrokenJson": "not valid JSON",
    "NotAnObject": "not a JSON object",
    "UnknownFormat": "none of the known row formats",
    "AmbiguousFormat": "keys of more than one row format",
    "WrongType": "a value has the wrong type",
    "UnknownRole": "a message has an unknown role",
    "UnknownMessageField": "a message has a field besides role and content",
    "NoAssistantTurn": "the row does not end with an assistant message",
    "EmptyTurn": "a user or assistant message is empty",
    "TemplateRefused": "the model's chat template refuses this order of roles",
}
