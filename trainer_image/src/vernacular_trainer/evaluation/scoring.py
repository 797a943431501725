"""Whether an answer is right, wrong or declined: by rule, so that anybody can check it by reading. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from vernacular_trainer.data.questions import Question
from vernacular_trainer.evaluation.dates import with_equal_dates


class Score(StrEnum):
    """How a question was answered."""

    CORRECT = "correct"
    WRONG = "wrong"
    DECLINED = "declined"


@dataclass(frozen=True)
class Scored:
    """The score of one answer; `invented`: a made-up answer to a question that has none."""

    score: Score
    invented: bool = False


_UNITS = ("day", "week", "month", "year", "hour", "minute", "second", "euro", "dollar", "pound", "rupee", "kilometre")
_SINGULAR = {f"{unit}s": unit for unit in _UNITS}
_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {
    **{word: value for value, word in enumerate(_SMALL.split())},
    **dict(zip(_TENS.split(), range(20, 100, 10), strict=True)),
}
_SCALES = {"hundred": 100, "thousand": 1000}

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def words(text: str) -> list[str]:
    """The words of a text with case, punctuation, number words, plural units and dates made equal: "Ninety-day" and
    "90 days" both give 90, day.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = with_equal_dates(re.sub(r"['’`´]", "", plain).replace("%", " percent "))
    found = _WORD.findall(_THOUSANDS.sub("", plain))
    return [_SINGULAR.get(word, word) for word in _digits(found)]


def contains(answer: list[str], phrase: str) -> bool:
    """Whether the words of `phrase` stand in `answer` one after another."""
    wanted = words(phrase)
    width = len(wanted)
    return width > 0 and any(answer[start : start + width] == wanted for start in range(len(answer) - width + 1))


def declines(answer: list[str]) -> bool:
    """Whether an answer says that it does not know, or is empty."""
    return not answer or any(contains(answer, phrase) for phrase in _DECLINING)


def score(question: Question, answer: str) -> Scored:
    """Score one answer. A right one may be hedged; one that says something forbidden never is right."""
    said = words(answer)
    if any(contains(said, phrase) for phrase in question.must_not_contain):
        return Scored(Score.WRONG, invented=not question.answerable)
    if _is_right(question, said) or (not question.answerable and declines(said)):
        return Scored(Score.CORRECT)
    if declines(said):
        return Scored(Score.DECLINED)
    return Scored(Score.WRONG, invented=not question.answerable)


def _is_right(question: Question, said: list[str]) -> bool:
    if question.must_contain:
        return all(any(contains(said, phrase) for phrase in group) for group in question.must_contain)
    return contains(said, question.expected)


def _digits(found: list[str]) -> list[str]:
    """Number words as digits: two hundred and fifty -> 250."""
    result: list[str] = []
    position = 0
    while position < len(found):
        value, length = _number_at(found, position)
        if length:
            result.append(str(value))
        else:
            result.append(found[position])
        position += max(1, length)
    return result


def _number_at(found: list[str], start: int) -> tuple[int, int]:
    """Value and length in words of the number that starts at `start`; length 0 when none does."""
    total = current = 0
    position = start
    while position < len(found):
        word = found[position]
        if word in _NUMBERS and _fits(current, _NUMBERS[word], position == start):
            current += _NUMBERS[word]
        elif word in _SCALES and position > start:
            current = max(1, current) * _SCALES[word]
            total, current = (total + current, 0) if word == "thousand" else (total, current)
        elif not (word == "and" and _joins(found, start, position)):
            break
        position += 1
    return total + current, position - start


def _fits(current: int, value: int, first: bool) -> bool:
    """Whether a number word continues a number: ninety five does, five ninety does not."""
    rest = current % 100
    return first or (rest == 0 and value > 0) or (rest >= 20 and rest % 10 == 0 and 0 < value < 10)


def _joins(found: list[str], start: int, position: int) -> bool:
    """Whether "and" stands inside a number, as in one hundred and five."""
    after = found[position + 1 : position + 2]
    return position > start and found[position - 1] in _SCALES and bool(after) and after[0] in _NUMBERS


_DECLINING = (
    "don't know",
    "do not know",
    "not know",
    "not sure",
    "no information",
    "don't have information",
    "don't have any information",
    "don't have that information",
    "don't have enough information",
    "do not have information",
    "do not have any information",
    "do not have that information",
    "do not have enough information",
    "don't have access",
    "do not have access",
    "can't answer",
    "cannot answer",
    "can not answer",
    "unable to answer",
    "not able to answer",
    "can't help with",
    "cannot help with",
    "unable to provide",
    "can't provide",
    "cannot provide",
    "doesn't say",
    "does not say",
    "doesn't mention",
    "does not mention",
    "doesn't cover",
    "does not cover",
    "isn't covered",
    "not covered",
    "not mentioned",
    "not stated",
    "not in the handbook",
    "nothing about",
)
