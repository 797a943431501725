"""What every reader yields, and the error for a file that cannot be read at all."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError


class Record(NamedTuple):
    """One record of a file. `row` says where it is: file and 1-based line ("a.jsonl:17"), or file, sheet and cell
    ("a.xlsx:Sheet1!A17"). `error` is the code of what makes it unreadable; `value` is then None.
    """

    row: str
    value: Any
    error: str = ""


def described(row: str) -> str:
    """A place as messages tell it: "a.jsonl, line 17" or "a.xlsx, Sheet1!A17"."""
    name, _, place = row.rpartition(":")
    return f"{name}, line {place}" if place.isdigit() else f"{name}, {place}"


def parse_json(text: str) -> Any:
    """A JSON value. Raises ValueError, also for what is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unreadable(message: str, advice: str, evidence: str = "") -> StageError:
    """The file as a whole cannot be read."""
    return StageError(StageFailure.DATASET_UNREADABLE, message, advice, evidence)
