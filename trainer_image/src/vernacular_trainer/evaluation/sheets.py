"""Files for people: the answers to review, and the rows that are missing, ready to be filled in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vernacular_trainer.data.files import write_bytes
from vernacular_trainer.data.workbook import workbook

# a cell of a workbook holds 32,767 characters
_CELL = 32_767
REVIEW_SHEET = "Review"
TUNED_ANSWER, TUNED_OK, BASE_ANSWER, BASE_OK = "tuned answer", "OK?", "base answer", "base OK?"
DIGEST = "digest"
REVIEW_COLUMNS = (
    *("question", "expected", TUNED_ANSWER, "scored", TUNED_OK),
    *(BASE_ANSWER, "base scored", BASE_OK, DIGEST),
)
YES, NO = "yes", "no"


def write_review_sheet(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """A workbook with every answer; a person writes yes or no into the columns OK?. No file when nothing was asked."""
    lines = [
        (
            entry["messages"][-1]["content"],
            entry["expected"],
            entry["tuned"]["answer"],
            entry["tuned"]["score"],
            "",
            entry["base"]["answer"],
            entry["base"]["score"],
            "",
            digest,
        )
        for entry, digest in zip(entries, row_digests(entries), strict=True)
    ]
    choices = {REVIEW_COLUMNS.index(column): (YES, NO) for column in (TUNED_OK, BASE_OK)}
    _write(path, REVIEW_SHEET, REVIEW_COLUMNS, lines, choices=choices)


def row_digests(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """What tells a row of the workbook from every other, those of other evaluations among them."""
    return tuple(
        row_digest(place, entry["digest"], entry["base"]["answer"], entry["tuned"]["answer"])
        for place, entry in enumerate(entries)
    )


def row_digest(place: int, question: str, base: str, tuned: str) -> str:
    """The digest of one row: of the question at `place`, by its digest, and of both answers.

    Programs for tables change white space, ends of lines and quotes when they save; letters and digits stay.
    """
    said = [place, question, *("".join(filter(str.isalnum, cut(answer))) for answer in (base, tuned))]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def write_collect_next(path: Path, sheet: Path, lessons: Sequence[dict[str, Any]]) -> None:
    """The rows to write next, as JSON Lines and as a workbook: a question to word anew and, where known, its answer.

    They do not repeat what was asked: training on that would make the next evaluation worthless.
    """
    rows = [
        {
            "question": "",
            "answer": lesson["expected"],
            "topic": lesson["topic"],
            "why": lesson["why"],
            "advice": lesson["advice"],
            "in other words than": lesson["asked"],
            "nearest rows": "\n".join(map(_row, lesson["nearest"][:3])),
        }
        for lesson in lessons
    ]
    if rows:
        write_bytes(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    else:
        path.unlink(missing_ok=True)
    _write(sheet, "Rows to write", tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])


def _row(row: dict[str, Any]) -> str:
    source = f" [{row['source']}]" if row["source"] else ""
    return f"{row['question']} -> {row['answer']}{source}"


def cut(text: str) -> str:
    """What a cell of a workbook holds of a text."""
    return text[:_CELL]


def _write(
    path: Path,
    name: str,
    header: tuple[str, ...],
    lines: Sequence[tuple[str, ...]],
    choices: Mapping[int, tuple[str, ...]] | None = None,
) -> None:
    if not lines:
        path.unlink(missing_ok=True)
        return
    with workbook(path, strings_to_formulas=False) as book:
        bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
        sheet = book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(header) - 1, 40, wrapped)
        for column, title in enumerate(header):
            sheet.write_string(0, column, title, bold)
        for number, cells in enumerate(lines, start=1):
            for column, cell in enumerate(cells):
                sheet.write_string(number, column, cut(cell))
        for column, allowed in (choices or {}).items():
            sheet.data_validation(1, column, len(lines), column, {"validate": "list", "source": list(allowed)})
