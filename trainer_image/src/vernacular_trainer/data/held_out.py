"""What is held out from training: the questions that it makes, what they can prove, and what is missing for more."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from vernacular_trainer.contract import PlanValue
from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.files import write_atomically, write_bytes
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import parse_questions, questions_of_rows
from vernacular_trainer.data.row_store import map_rows, stored
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.split import GOAL_POINTS, Split, provable_points, questions_for
from vernacular_trainer.data.workers import INLINE, Workers
from vernacular_trainer.workspace import Workspace

# without questions of the user, so many held-out rows are asked: more only makes the evaluation slow
HELD_OUT_QUESTIONS = 100


@dataclass(frozen=True)
class Origins:
    """Of the lines of the used rows, from 1: `lines` that are held out, `cut` ones that are trained without their end,
    and `sources`, the lines with which rows of another file begin, as pairs of line and file.
    """

    lines: tuple[int, ...]
    cut: tuple[int, ...] = ()
    sources: tuple[tuple[int, str], ...] = ()


def origins_of(rows: Sequence[Conversation], held_out: Sequence[int], cut: Sequence[int]) -> Origins:
    """From indexes of rows to lines."""
    begins: list[tuple[int, str]] = []
    for line, row in enumerate(rows, start=1):
        file = row.row.rpartition(":")[0]
        if not begins or begins[-1][1] != file:
            begins.append((line, file))
    return Origins(tuple(index + 1 for index in held_out), tuple(index + 1 for index in cut), tuple(begins))


def ask_held_out(rows: Sequence[Conversation], split: Split, workspace: Workspace, topics: Container[str] = ()) -> int:
    """Without questions of the user, the evaluation asks what the held-out rows ask; how many these are. `topics`:
    those that the questions name.
    """
    text = questions_of_rows((rows[index] for index in split.validation), HELD_OUT_QUESTIONS, topics)
    write_bytes(workspace.questions, text.encode())
    # read as the evaluation will read it: what is wrong must not come to light after the training
    return len(parse_questions(text, "held-out rows")) if text else 0


def note_split(rows: Sequence[Conversation], split: Split, questions: int, problems: ProblemLog) -> None:
    """Note what the split leaves untaught or unasked, and when the questions prove too little."""
    for row in stored(rows).select(split.untaught):
        problems.add("HeldOutNotTaught", row.row)
    if split.validation and not split.untaught:
        for row in stored(rows).select(split.worded_once):
            problems.add("WordedOnce", row.row)
    if not questions:
        problems.add("NothingHeldOut", "")
    elif (points := provable_points(questions)) > GOAL_POINTS:
        more = questions_for(GOAL_POINTS) - questions
        problems.add("FewQuestions", "", f"write {more} more: {questions} prove only gains above {points} points")


def provable_gain(questions: int) -> PlanValue:
    """What the evaluation will be able to prove, among the values that are known before the training."""
    more = questions_for(GOAL_POINTS) - questions
    missing = f"; {more} more prove gains above {GOAL_POINTS}" if more > 0 else ""
    value = f"above {provable_points(questions)} points" if questions else "none"
    return PlanValue("provableGain", value, f"{questions} questions are asked{missing}")


def write_missing_wordings(
    rows: Sequence[Conversation], split: Split, workspace: Workspace, workers: Workers = INLINE
) -> None:
    """Facts that only one row words, for the person who can write another question about each."""
    parts = filter(None, map_rows(_questions_to_write, stored(rows).select(split.worded_once), workers))
    first = next(parts, b"")
    if not first:
        workspace.questions_to_write.unlink(missing_ok=True)
        return
    # with a byte order mark, by which Excel knows UTF-8
    begin = BOM_UTF8 + _table([("row", "question", "answer")])
    write_atomically(workspace.questions_to_write, lambda stream: stream.writelines(chain((begin, first), parts)))


def _questions_to_write(rows: Iterable[Conversation]) -> bytes:
    lines = []
    for row in rows:
        if not row.plain:
            *turns, answer = (message.content for message in row.messages if message.role != "system")
            lines.append((row.row, _cell("\n".join(turns)), _cell(answer)))
    return _table(lines)


def _table(lines: Iterable[tuple[str, str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _cell(text: str) -> str:
    """A text without personal data, which no spreadsheet takes for a formula."""
    return ("'" if text.startswith(("=", "+", "-", "@")) else "") + masked(text)
