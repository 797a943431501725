"""The alternative to training: the base model with matching training rows in its prompt. Pure but for reading them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.evaluation.retrieval import Index
from vernacular_trainer.workspace import Workspace

ROWS_IN_PROMPT = 5
# of larger data sets so many rows, evenly spaced, are searched
MOST_ROWS = 50_000


@dataclass(frozen=True)
class TaughtRow:
    """A training row as a question and its last answer; of plain text there is the text alone. `source`: the file that
    it is of; `cut`: it was too long, and the model has not seen its end.
    """

    question: str
    answer: str
    source: str = ""
    cut: bool = False

    @property
    def text(self) -> str:
        """As it stands in a prompt."""
        return f"Question: {self.question}\nAnswer: {self.answer}" if self.question else self.answer


class TaughtRows:
    """The rows that were trained on, searchable by what they say."""

    def __init__(self, rows: Sequence[TaughtRow]) -> None:
        self._rows = rows
        self._index = Index([f"{row.question} {row.answer}" for row in rows])

    @classmethod
    def read(cls, workspace: Workspace) -> TaughtRows:
        """The rows that prepare left, less those that it held out."""
        known = json.loads(workspace.held_out_lines.read_text())
        held_out, cut = set(known["lines"]), set(known.get("cut", ()))
        begins = known.get("sources") or [(1, "")]
        first = [line for line, _ in begins]
        with workspace.clean_rows.open(encoding="utf-8") as lines:
            taught = [(number, line) for number, line in enumerate(lines, start=1) if number not in held_out]
        step = -(-len(taught) // MOST_ROWS) or 1
        return cls(
            [
                replace(_taught(json.loads(line)), source=begins[bisect_right(first, number) - 1][1], cut=number in cut)
                for number, line in taught[::step]
            ]
        )

    def nearest(self, text: str, most: int = ROWS_IN_PROMPT) -> tuple[TaughtRow, ...]:
        """The rows that match a text best, best first."""
        return tuple(self._rows[match.index] for match in self._index.search(text, most))


def with_rows(question: Question, rows: Sequence[TaughtRow]) -> tuple[Message, ...]:
    """The question's messages with rows before its last turn; the best match stands last, nearest to the question."""
    *before, last = question.messages
    if not rows:
        return question.messages
    known = "\n\n".join(row.text for row in reversed(rows))
    text = f"Answer with the help of what is known:\n\n{known}\n\nQuestion: {last.content}"
    return (*before, replace(last, content=text))


def _taught(document: dict[str, object]) -> TaughtRow:
    parsed = parse_row(document)
    if parsed.plain:
        return TaughtRow("", parsed.messages[0].content)
    row = Conversation("", parsed.messages)
    turns = [message.content for message in parsed.messages[: row.last_answer] if message.role != "system"]
    return TaughtRow("\n".join(turns), parsed.messages[row.last_answer].content)
