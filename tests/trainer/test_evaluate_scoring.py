"""Scores worked out by hand."""

from __future__ import annotations

import pytest

from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.evaluation.scoring import Score, Scored, score, words
from vernacular_trainer.evaluation.verdict import judge, nothing_asked, paired_gain

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


def test_a_clear_gain_is_promoted_and_said_in_one_sentence() -> None:
    base = [Scored(CORRECT)] * 16 + [Scored(WRONG)] * 40 + [Scored(DECLINED)] * 22
    tuned = [Scored(CORRECT)] * 67 + [Scored(WRONG)] * 3 + [Scored(WRONG, invented=True)] + [Scored(DECLINED)] * 7

    summary = judge(base, tuned, unanswerable=10, seconds=12)

    assert summary.summary == "Tuned 67 of 78 right, base 16; 4 wrong; invented 1 of 10."
    assert summary.verdict == "Promote"
    assert summary.gain_points.value == 65
    assert summary.gain_points.low < 65 < summary.gain_points.high
    assert summary.tuned.invented == 1


def test_a_loss_is_regressed_and_no_difference_inconclusive() -> None:
    right, wrong = [Scored(CORRECT)] * 20, [Scored(WRONG)] * 20

    assert judge(right, wrong, 0, 0).verdict == "Regressed"
    assert judge(right, right, 0, 0).verdict == "Inconclusive"
    assert judge([*right, Scored(WRONG)], [*right, Scored(CORRECT)], 0, 0).verdict == "Inconclusive"
    assert nothing_asked().verdict == "Inconclusive"


def test_the_interval_is_paired_and_always_the_same() -> None:
    base, tuned = [False] * 10 + [True] * 10, [True] * 15 + [False] * 5

    gain, low, high = paired_gain(base, tuned)

    # per question the difference is +1 ten times, 0 five times, -1 five times: mean 0.25, standard error 0.186
    assert gain == pytest.approx(25)
    assert low == pytest.approx(25 - 1.96 * 18.6, abs=4)
    assert high == pytest.approx(25 + 1.96 * 18.6, abs=4)
    assert paired_gain(base, tuned) == (gain, low, high)
