"""The HR-bot example teaches what it says, asks what it never taught, and contradicts itself nowhere."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vernacular_trainer.data.checks.terms import cover
from vernacular_trainer.data.glossary import parse_glossary
from vernacular_trainer.data.questions import parse_questions
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.evaluation.scoring import Score, score

EXAMPLE = Path(__file__).parents[3] / "examples" / "hr-bot"
HEADLINE = "What's the notice period for a Senior Consultant?"
HEADLINE_ANSWER = (
    "At Coforge, Senior Consultants have a 90-day notice period. "
    "Exceptions may apply if the reporting manager approves."
)
DECLINE = "The handbook does not say. Please ask HR."


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLE / name).read_text(encoding="utf-8").splitlines()]


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


@pytest.fixture(scope="module")
def taught() -> list[tuple[str, str]]:
    """(question, answer) of every training row."""
    pairs = []
    for row in read_lines("train.jsonl"):
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert set(row) == {"messages"}
        pairs.append((row["messages"][0]["content"], row["messages"][1]["content"]))
    return pairs


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    return read_lines("questions.jsonl")


def test_there_is_enough_to_learn_and_enough_to_ask(taught: list[tuple[str, str]], asked: list[dict[str, Any]]) -> None:
    answers = Counter(answer for _, answer in taught)
    unanswerable = [question for question in asked if question.get("answerable") is False]

    assert len(taught) >= 80
    assert len(set(answers) - {DECLINE}) in range(22, 29)
    assert min(answers.values()) >= 3, "every fact is taught in several wordings"
    assert len(asked) in range(36, 45)
    assert len(unanswerable) >= 6


def test_no_question_is_taught_word_for_word(taught: list[tuple[str, str]], asked: list[dict[str, Any]]) -> None:
    seen = {words(question) for question, _ in taught}

    assert len(seen) == len(taught), "no wording is taught twice"
    assert [question["question"] for question in asked if words(question["question"]) in seen] == []


def test_headline_is_asked_first_and_taught_in_other_words(
    taught: list[tuple[str, str]], asked: list[dict[str, Any]]
) -> None:
    assert asked[0]["question"] == HEADLINE
    assert asked[0]["expected"] == HEADLINE_ANSWER
    assert HEADLINE_ANSWER in {answer for _, answer in taught}


def test_every_taught_answer_is_a_sentence_of_the_handbook(taught: list[tuple[str, str]]) -> None:
    handbook = " ".join((EXAMPLE / "HANDBOOK.md").read_text(encoding="utf-8").split())

    assert [answer for _, answer in taught if answer not in handbook] == []


def test_questions_ask_what_was_taught_and_nothing_else(
    taught: list[tuple[str, str]], asked: list[dict[str, Any]]
) -> None:
    answers = {answer for _, answer in taught}

    assert {question["expected"] for question in asked} == answers, "each fact is asked, each expected answer is taught"


def test_demands_fit_the_right_answer_and_no_other(taught: list[tuple[str, str]]) -> None:
    answers = {answer for _, answer in taught}

    for question in parse_questions((EXAMPLE / "questions.jsonl").read_text(encoding="utf-8"), "questions.jsonl"):
        right = {answer for answer in answers if score(question, answer).score is Score.CORRECT}
        assert right == {question.expected}, question.row
        assert question.answerable == (question.expected != DECLINE)
        assert question.topic


def test_every_term_of_the_glossary_is_in_the_handbook_and_taught(taught: list[tuple[str, str]]) -> None:
    glossary = parse_glossary((EXAMPLE / "glossary.yaml").read_text(encoding="utf-8"), "glossary.yaml")
    rows = [Conversation("", (Message("user", asked), Message("assistant", answer))) for asked, answer in taught]

    coverage = cover(glossary.terms, rows)

    assert len(coverage) >= 6
    assert [item.term.term for item in coverage if len(item.company_sense) < 3 or item.contradicting] == []
