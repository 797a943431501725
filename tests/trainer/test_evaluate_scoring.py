"""Scores worked out by hand."""

from __future__ import annotations

import pytest

from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.evaluation.scoring import Score, Scored, score, words

CORRECT, WRONG, DECLINED = Score.CORRECT, Score.WRONG, Score.DECLINED


def ask(expected: str = "", **demands: object) -> Question:
    return Question("q:1", (Message("user", "?"),), expected, **demands)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Ninety-Day notice.", ["a", "90", "day", "notice"]),
        ("90 days", ["90", "day"]),
        ("90days", ["90", "day"]),
        ("twenty five weeks", ["25", "week"]),
        ("twenty-five, six", ["25", "6"]),
        ("two hundred and fifty euros", ["250", "euro"]),
        ("one thousand two hundred", ["1200"]),
        ("hundred", ["hundred"]),
        ("1,000.50 and 2,5", ["1000.50", "and", "2", "5"]),
        ("10%", ["10", "percent"]),
        ("don’t, don't", ["dont", "dont"]),
        ("Größe IX", ["grösse", "ix"]),
        ("five six", ["5", "6"]),
        ("by 2026-01-31.", ["by", "31", "january", "2026"]),
        ("January 31st, 2026", ["31", "january", "2026"]),
        ("the 31st of January 2026", ["the", "31", "january", "2026"]),
        ("Jan. 31, 2026 and 1 Sept 2025", ["31", "january", "2026", "and", "1", "september", "2025"]),
        ("31.01.2026, 31. 1. 2026", ["31", "january", "2026", "31", "january", "2026"]),
        ("1/31/2026 or 31/1/2026", ["31", "january", "2026", "or", "31", "january", "2026"]),
        ("June 3", ["3", "june"]),
        ("3/4/2026", ["3", "4", "2026"]),
        ("You may 5 times march 20 miles", ["you", "may", "5", "times", "march", "20", "miles"]),
        ("May 5, 2026", ["5", "may", "2026"]),
        ("2026-13-01 and 32.01.2026", ["2026", "13", "01", "and", "32.01", "2026"]),
        ("twenty zero", ["20", "0"]),
        ("", []),
    ],
)
def test_texts_that_mean_the_same_have_the_same_words(text: str, expected: list[str]) -> None:
    assert words(text) == [word.replace("größe", "grösse") for word in expected]


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (ask("90 days"), "Senior Consultants have a 90-day notice period.", Scored(CORRECT)),
        (ask("90-day"), "It is ninety days.", Scored(CORRECT)),
        (ask("90 days"), "It is 190 days.", Scored(WRONG)),
        (ask("9 days"), "It is 90 days.", Scored(WRONG)),
        (ask("90 days"), "I don't know.", Scored(DECLINED)),
        (ask("90 days"), "I’m not sure, but 90 days I think.", Scored(CORRECT)),
        (ask("90 days"), "", Scored(DECLINED)),
        (ask("90 days"), "!!!", Scored(DECLINED)),
        (ask(must_contain=(("90-day", "90 days"), ("manager",))), "90 days, if the manager agrees", Scored(CORRECT)),
        (ask(must_contain=(("90-day", "three months"), ("manager",))), "3 months", Scored(WRONG)),
        (ask(must_contain=(("90-day", "three months"),)), "3 months", Scored(CORRECT)),
        (ask("x", must_contain=(("90 days",),)), "x", Scored(WRONG)),
        (ask("90 days", must_not_contain=("30 days",)), "90 days, or 30 days", Scored(WRONG)),
        (ask(answerable=False), "The handbook does not say.", Scored(CORRECT)),
        (ask(answerable=False), "It is 14 days.", Scored(WRONG, invented=True)),
        (ask("please ask HR", answerable=False), "Please ask HR!", Scored(CORRECT)),
        (ask(answerable=False, must_not_contain=("14",)), "I don't know, maybe 14.", Scored(WRONG, invented=True)),
        (ask("..."), "anything", Scored(WRONG)),
    ],
)
def test_scores(question: Question, answer: str, expected: Scored) -> None:
    assert score(question, answer) == expected
