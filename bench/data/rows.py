"""Chat rows of about one kilobyte as an invented company would have them: facts in several wordings, a few bad ones."""

from __future__ import annotations

import json
import random
from pathlib import Path

_SYLLABLES = ("ka", "lo", "mi", "ren", "tas", "vo", "pel", "dor", "shi", "un", "gar", "be", "xi", "zen", "qua", "fle")
_WORDS = 20_000
# rows are made of these, which is quicker than of words
_PHRASES = 100_000
_PHRASE_WORDS = 6
_QUESTION_PHRASES = 3
_ANSWER_PHRASES = 20


def write_rows(path: Path, count: int) -> None:
    """Write `count` rows as JSON Lines, always the same; one in a hundred repeats an earlier one, word for word or
    nearly.
    """
    generator = random.Random(42)
    vocabulary = ["".join(generator.choices(_SYLLABLES, k=generator.randint(1, 4))) for _ in range(_WORDS)]
    phrases = [" ".join(generator.choices(vocabulary, k=_PHRASE_WORDS)) for _ in range(_PHRASES)]
    last: tuple[list[str], list[str]] = (["why"], ["because"])
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            if number % 100:
                last = (
                    generator.choices(phrases, k=_QUESTION_PHRASES),
                    generator.choices(phrases, k=_ANSWER_PHRASES),
                )
            else:
                last = ([*last[0], "please"] if number % 200 else last[0], last[1])
            stream.write(json.dumps(_row(number, *last)) + "\n")


def _row(number: int, question: list[str], answer: list[str]) -> dict[str, object]:
    messages = [
        {"role": "user", "content": " ".join(question).capitalize() + "?"},
        {"role": "assistant", "content": f"Article {number % 997}: " + " ".join(answer) + "."},
    ]
    return {"messages": messages, "id": number}
