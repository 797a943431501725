"""Rows of every format, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, write_lines
from vernacular_trainer.contract import FileSource, StageFailure
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import parse_questions
from vernacular_trainer.data.rows import ADVICE, Message, RowError, parse_row
from vernacular_trainer.data.sources import check_sources, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}


def check(folder: Path, *lines: Any, problems: ProblemLog | None = None) -> Any:
    path = write_lines(folder / "in" / "train.jsonl", lines)
    source = FileSource("ConfigMap hr-data, key train.jsonl", str(path))
    copies = copy_sources((source,), Workspace(folder / "workspace"))
    return check_sources(copies, problems if problems is not None else ProblemLog())


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [{**USER, "name": None}, ANSWER], "id": 7},
        {"prompt": "Why?", "completion": "Because."},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"instruction": "Why?", "output": "Because.", "topic": "x"},
    ],
)
def test_every_format_gives_the_same_conversation(row: dict[str, Any]) -> None:
    assert parse_row(row) == (Message("user", "Why?"), Message("assistant", "Because."))


def test_an_instruction_and_its_input_are_one_question() -> None:
    (question, _) = parse_row({"instruction": "Sum up.", "input": "A text.", "output": "Short."})

    assert question.content == "Sum up.\n\nA text."


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (["a list"], "NotAnObject"),
        ("a text", "NotAnObject"),
        ({"question": "Why?", "answer": "Because."}, "UnknownFormat"),
        ({}, "UnknownFormat"),
        ({"messages": [USER, ANSWER], "prompt": "a", "completion": "b"}, "AmbiguousFormat"),
        ({"prompt": 3, "completion": "b"}, "WrongType"),
        ({"messages": "Why?"}, "WrongType"),
        ({"messages": []}, "WrongType"),
        ({"messages": ["Why?"]}, "WrongType"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "WrongType"),
        ({"messages": [USER, {"role": "assistant"}]}, "WrongType"),
        ({"messages": [{"role": "human", "content": "Why?"}, ANSWER]}, "UnknownRole"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "UnknownMessageField"),
        ({"messages": [USER]}, "NoAssistantTurn"),
        ({"messages": [USER, ANSWER, USER]}, "NoAssistantTurn"),
        ({"prompt": "a", "completion": " "}, "EmptyTurn"),
        ({"prompt": "", "completion": "b"}, "EmptyTurn"),
        ({"instruction": None, "output": "b"}, "EmptyTurn"),
    ],
)
def test_a_bad_row_has_a_code_with_advice(row: Any, code: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(row)

    assert caught.value.code == code
    assert ADVICE[code]


def test_all_bad_rows_are_found_and_the_first_is_named(tmp_path: Path) -> None:
    good = handbook_rows(4)
    problems = ProblemLog()

    with pytest.raises(StageError) as caught:
        check(tmp_path, good[0], "", '{"secret": ', good[1], {"messages": [USER]}, '{"x', problems=problems)

    assert caught.value.code is StageFailure.DATASET_SCHEMA
    expected = "ConfigMap hr-data, key train.jsonl, line 3: not valid JSON (2 more bad rows)"
    assert caught.value.message == expected
    assert caught.value.advice == ADVICE["BrokenJson"]
    assert "secret" not in caught.value.message + caught.value.evidence
    broken, no_answer = problems.problems()
    assert (broken.code, broken.count) == ("BrokenJson", 2)
    assert broken.first_rows == tuple(f"ConfigMap hr-data, key train.jsonl:{line}" for line in (3, 6))
    assert (no_answer.code, no_answer.count) == ("NoAssistantTurn", 1)


def test_only_the_first_places_of_a_problem_are_kept(tmp_path: Path) -> None:
    problems = ProblemLog()

    with pytest.raises(StageError, match=r"line 1: not valid JSON \(29 more bad rows\)"):
        check(tmp_path, *["{"] * 30, problems=problems)

    (problem,) = problems.problems()
    assert problem.count == 30
    assert len(problem.first_rows) == 5


@pytest.mark.parametrize("key", ["missing.jsonl", "../gone/train.jsonl"])
def test_a_missing_file_is_named_as_the_user_wrote_it(tmp_path: Path, key: str) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "train.jsonl").touch()
    source = FileSource("ConfigMap hr-data, key missing.jsonl", str(tmp_path / "mounted" / key))

    with pytest.raises(StageError) as caught:
        copy_sources((source,), Workspace(tmp_path / "workspace"))

    assert caught.value.code is StageFailure.DATASET_NOT_FOUND
    assert caught.value.message == "ConfigMap hr-data, key missing.jsonl does not exist"
    assert ("(train.jsonl)" in caught.value.advice) == (key == "missing.jsonl")


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"pvc://hr/data cannot be read") as caught:
        copy_sources((FileSource("pvc://hr/data", str(tmp_path)),), Workspace(tmp_path / "workspace"))

    assert caught.value.code is StageFailure.DATASET_UNREADABLE


def test_text_that_is_not_utf_8_is_unreadable_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "Gr\xfc\xdfe", "completion": "b"}\n')
    copies = copy_sources((FileSource("train.jsonl", str(path)),), Workspace(tmp_path / "workspace"))

    with pytest.raises(StageError, match=r"train.jsonl, line 2: not UTF-8") as caught:
        check_sources(copies, ProblemLog())

    assert caught.value.code is StageFailure.DATASET_UNREADABLE


@pytest.mark.parametrize("lines", [(), ("", "  ")])
def test_an_empty_file_is_too_small(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(StageError, match=r"key train.jsonl is empty") as caught:
        check(tmp_path, *lines)

    assert caught.value.code is StageFailure.DATASET_TOO_SMALL


def test_byte_order_marks_and_unicode_line_separators_are_no_trouble(tmp_path: Path) -> None:
    checked = check(tmp_path, '\ufeff{"prompt": "a\u2028b", "completion": "c\x85d"}')

    (conversation,) = checked.conversations
    assert [message.content for message in conversation.messages] == ["a\u2028b", "c\x85d"]


def test_duplicates_are_counted_and_kept_and_unused_columns_reported(tmp_path: Path) -> None:
    problems = ProblemLog()
    rows = [{"prompt": "Why?", "completion": "So."}, {"prompt": "why? ", "completion": "so."}, {"id": 1}]
    rows[2] |= {"prompt": "How?", "completion": "So."}

    checked = check(tmp_path, *rows, problems=problems)

    assert len(checked.conversations) == 3
    assert problems.count("Duplicate") == 1
    assert problems.problems()[0].first_rows == ("ConfigMap hr-data, key train.jsonl:2",)
    assert checked.unused_columns == ("id",)


def test_a_question_with_every_field() -> None:
    line = (
        '{"messages": [{"role": "user", "content": "How long?"}], "expected": "90 days", "mustContain": [["90-day", '
        '"90 days"]], "mustNotContain": ["30"], "topic": "notice", "answerable": true}'
    )

    (question,) = parse_questions(line, "questions.jsonl")

    assert question.messages == (Message("user", "How long?"),)
    assert question.must_contain == (("90-day", "90 days"),)
    assert question.must_not_contain == ("30",)
    assert (question.topic, question.expected, question.answerable) == ("notice", "90 days", True)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"question": "a", "expcted": "b"}', "unknown key 'expcted'"),
        ('{"expected": "b"}', "needs either question or messages"),
        ('{"question": "a", "messages": [], "expected": "b"}', "needs either question or messages"),
        ('{"question": " ", "expected": "b"}', "does not end with a user's question"),
        ('{"messages": [{"role": "assistant", "content": "a"}], "expected": "b"}', "does not end with a user's"),
        ('{"messages": 3, "expected": "b"}', "messages must be a list"),
        ('{"question": 3, "expected": "b"}', "question must be a text"),
        ('{"question": "a"}', "neither expected nor mustContain"),
        ('{"question": "a", "expected": "b", "mustContain": ["90"]}', "mustContain must be a list of lists"),
        ('{"question": "a", "expected": "b", "mustContain": [[]]}', "mustContain must be a list of lists"),
        ('{"question": "a", "expected": "b", "mustNotContain": "90"}', "mustNotContain must be a list"),
        ('{"question": "a", "expected": "b", "answerable": "no"}', "answerable must be true or false"),
    ],
)
def test_a_bad_question_is_named_by_its_line(line: str, what: str) -> None:
    good = '{"question": "a", "expected": "b"}'

    with pytest.raises(StageError) as caught:
        parse_questions(f"{good}\n\n{line}\n", "ConfigMap hr, key q.jsonl")

    assert caught.value.code is StageFailure.QUESTIONS_UNREADABLE
    assert caught.value.message.startswith("ConfigMap hr, key q.jsonl, line 3: ")
    assert what in caught.value.message
    assert "mustContain" in caught.value.advice


def test_no_questions_at_all_are_unreadable() -> None:
    with pytest.raises(StageError, match=r"q.jsonl has no questions"):
        parse_questions("\n", "q.jsonl")


def test_unanswerable_questions_need_no_expected_answer() -> None:
    (question,) = parse_questions('{"question": "a", "answerable": false}', "q")

    assert not question.answerable
