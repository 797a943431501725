"""Texts as words: what two questions, or two answers, are compared by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise

# a letter of Chinese or Japanese is a word of its own, because these languages write no spaces
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
# words that change the wording of a question and not what it asks: no negations, no who, when, where,
# why, and not what tells how long from how much
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an the of for to in on at by with is are was be do does did has have had can could will would shall should"
        " may must i me my we us our you your it its this that there what which how many please tell s"
        " der die das den dem des ein eine einen einem einer ist sind war hat haben kann muss ich wir mein unser es"
        " von für zu im in am auf mit wie was welche welcher welches viele bitte"
    )
)


def words(text: str) -> list[str]:
    """The words of a text in lower case, in their order."""
    return _WORD.findall(text.casefold())


def has_words(text: str, count: int) -> bool:
    """Whether a text has so many words, without counting the others."""
    return len(list(islice(_WORD.finditer(text.casefold()), count))) == count


def shingles(text: str) -> set[str]:
    """Single words and pairs of neighbours: what similarity is counted over."""
    found = words(text)
    return {*found, *(f"{left} {right}" for left, right in pairwise(found))}


def similarity(left: set[str], right: set[str]) -> float:
    """Jaccard index: the shared part of all that either has, from 0 to 1."""
    together = len(left | right)
    return len(left & right) / together if together else 1.0


def content_key(text: str) -> tuple[str, ...]:
    """Equal for questions that ask the same in nearly the same words: order, function words and plurals left out."""
    return key_of_words(words(text))


def key_of_words(found: Sequence[str]) -> tuple[str, ...]:
    """The same, from the words of a text."""
    content = [_singular(word) for word in found if word not in _FUNCTION_WORDS]
    return tuple(sorted(content)) or tuple(found)


def numbers(text: str) -> tuple[str, ...]:
    """All numbers of a text, sorted."""
    return tuple(sorted(_NUMBER.findall(text)))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and word.isalpha() else word
