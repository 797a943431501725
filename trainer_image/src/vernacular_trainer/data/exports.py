"""Files for the person who owns the data: the rows that are used, and those that are not with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vernacular_trainer.data.files import write_atomically
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.problems import Rejected
from vernacular_trainer.data.row_store import map_rows, stored
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.workbook import workbook
from vernacular_trainer.data.workers import INLINE, Workers

# the sheet of a workbook holds 1,048,576 rows
_SHEET_ROWS = 1_000_000


def write_clean_rows(path: Path, rows: Sequence[Conversation], workers: Workers = INLINE) -> None:
    """The rows that are used as JSON Lines in the formats Messages, Text and Preference, from which the same rows are
    read again.
    """

    def write(stream: BinaryIO) -> None:
        stream.writelines(map_rows(_lines, stored(rows), workers))

    write_atomically(path, write)


def write_rejected_rows(path: Path, rejected: Sequence[Rejected]) -> None:
    """A workbook with place, code, reason and advice of each row that is not used; no file when there is none."""
    if not rejected:
        path.unlink(missing_ok=True)
        return
    with workbook(path, constant_memory=True) as book:
        sheet = book.add_worksheet("Rejected rows")
        sheet.set_column(0, 1, 30)
        sheet.set_column(2, 3, 80)
        lines = [(item.row, item.code, FINDINGS[item.code].what, FINDINGS[item.code].advice) for item in rejected]
        if len(lines) > _SHEET_ROWS:
            rest = len(lines) - _SHEET_ROWS
            lines = [*lines[:_SHEET_ROWS], (f"and {rest} more rows", "", "", "")]
        for number, cells in enumerate([("row", "code", "reason", "advice"), *lines]):
            for column, cell in enumerate(cells):
                sheet.write_string(number, column, cell)


def _lines(rows: Iterable[Conversation]) -> bytes:
    return b"".join([json.dumps(_plain(row), ensure_ascii=False).encode() + b"\n" for row in rows])


def _plain(row: Conversation) -> dict[str, Any]:
    topic = {"topic": row.topic} if row.topic else {}
    if row.plain:
        return {"text": row.messages[0].content, **topic}
    document: dict[str, Any]
    if row.rejected:
        *prompt, chosen = row.messages
        document = {
            "prompt": [message.to_dict() for message in prompt],
            "chosen": [_message(chosen)],
            "rejected": [_message(row.rejected)],
        }
    else:
        document = {"messages": [_message(message) for message in row.messages]}
    return {**document, **({"tools": list(row.tools)} if row.tools else {}), **topic}


def _message(message: Message) -> dict[str, Any]:
    return message.to_dict() if message.weight == 1 else {**message.to_dict(), "weight": message.weight}
