"""The answers of both models in a terminal. Pure but for the asking."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from vernacular_trainer.data.rows import Message
from vernacular_trainer.errors import refused
from vernacular_trainer.trying.chat_api import DEFAULT_TOKENS
from vernacular_trainer.trying.replies import Answering, Reply, UnaskableError, Which

_NAMES = {Which.BASE: "Base model", Which.TUNED: "Tuned model"}
_GAP = 3
_NARROWEST = 24
_ENDS = "  [...]"


def asked(models: Answering, question: str, width: int) -> list[str]:
    """The question and what both models say: side by side where there is room, one below the other otherwise.

    Raises StageError (ArgumentRefused) for a question that is too long.
    """
    try:
        replies = {
            which: models.answer(which, (Message("user", question),), DEFAULT_TOKENS, lambda _: None) for which in Which
        }
    except UnaskableError as error:
        raise refused(f"{question[:60]!r}: {error}", "ask in fewer words") from None
    column = (width - _GAP) // 2
    if column < _NARROWEST:
        below = (line for which, reply in replies.items() for line in ("", _NAMES[which], *_lines(reply, width)))
        return [*_wrapped(question, width), *below, ""]
    base, tuned = (
        [_NAMES[which], "-" * min(column, len(_NAMES[which])), *_lines(replies[which], column)] for which in Which
    )
    return [*_wrapped(question, width), "", *_beside(base, tuned, column), ""]


def _beside(left: list[str], right: list[str], width: int) -> Iterator[str]:
    for place in range(max(len(left), len(right))):
        first, second = (column[place] if place < len(column) else "" for column in (left, right))
        yield f"{first:<{width}}{' ' * _GAP}{second}".rstrip()


def _lines(reply: Reply, width: int) -> list[str]:
    return _wrapped(reply.text + ("" if reply.ended else _ENDS), width) or ["(nothing)"]


def _wrapped(text: str, width: int) -> list[str]:
    """Without control characters: what a model says must not move the cursor."""
    plain = ("".join(char if char.isprintable() else " " for char in line) for line in text.splitlines())
    return [part for line in plain for part in (wrap(line, width) or [""])]
