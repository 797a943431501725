"""Two answers in the terminal: side by side, below each other, and what models say that screens must not do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vernacular_trainer.data.rows import Message
from vernacular_trainer.errors import StageError
from vernacular_trainer.trying.replies import Reply, Tell, UnaskableError, Which
from vernacular_trainer.trying.screen import asked


class Saying:
    """Models that say these texts."""

    def __init__(self, base: str, tuned: str, *, ended: bool = True) -> None:
        self._texts = {Which.BASE: base, Which.TUNED: tuned}
        self._ended = ended

    def answer(self, which: Which, messages: Sequence[Message], most: int, tell: Tell) -> Reply:
        if messages[0].content == "too long":
            raise UnaskableError("these messages have 9 tokens, and the model reads 4")
        return Reply(self._texts[which], 1, 1, self._ended)


def test_side_by_side() -> None:
    models = Saying("The notice period is typically twelve months.", "Ninety days.\nUnless agreed otherwise.")

    assert asked(models, "How long?", 60) == [
        "How long?",
        "",
        "Base model                     Tuned model",
        "----------                     -----------",
        "The notice period is           Ninety days.",
        "typically twelve months.       Unless agreed otherwise.",
        "",
    ]


def test_below_each_other_where_there_is_no_room() -> None:
    assert asked(Saying("Twelve months.", "", ended=False), "How long?", 40) == [
        "How long?", "", "Base model", "Twelve months.  [...]", "", "Tuned model", "  [...]", "",
    ]  # fmt: skip
    assert asked(Saying("a", ""), "b", 40)[-2] == "(nothing)"


def test_what_a_model_says_moves_no_cursor() -> None:
    lines = asked(Saying("\x1b[2J\x1b]0;title\x07gone", "x"), "b", 100)

    assert not any(char < " " for line in lines for char in line)


def test_a_question_that_is_too_long() -> None:
    with pytest.raises(StageError, match="the model reads 4") as caught:
        asked(Saying("a", "b"), "too long", 80)

    assert caught.value.advice == "ask in fewer words"
