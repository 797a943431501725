"""Rows of every format, and everything that can be wrong with one."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, write_lines
from vernacular_trainer.contract import DatasetConfig, FileSource, StageFailure
from vernacular_trainer.data.bad_rows import require_few_bad_rows
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import parse_questions
from vernacular_trainer.data.rows import Message, RowError
from vernacular_trainer.data.sources import check_sources, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}


def check(folder: Path, *lines: Any, problems: ProblemLog | None = None, **changes: Any) -> Any:
    path = write_lines(folder / "in" / "train.jsonl", lines)
    source = FileSource("ConfigMap hr-data, key train.jsonl", str(path))
    copies = copy_sources((source,), Workspace(folder / "workspace")).copies
    config = DatasetConfig((source,), **changes)
    problems = problems if problems is not None else ProblemLog()
    checked = check_sources(copies, config, problems)
    assert checked.rows == len(checked.conversations) + len(problems.rejected)
    require_few_bad_rows(problems, checked.rows, config.max_bad_rows_percent)
    return checked


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [{**USER, "name": None}, ANSWER], "id": 7},
        {"prompt": "Why?", "completion": "Because."},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"instruction": "Why?", "output": "Because.", "topic": "x"},
        {"question": "Why?", "answer": "Because."},
        {"prompt": "Why?", "completion": "Because.", "system": None},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        {"conversations": [{"from": "user", "value": "Why?"}, {"from": "assistant", "value": "Because.", "weight": 1}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}], "system": " "},
    ],
)
def test_every_format_gives_the_same_conversation(row: dict[str, Any]) -> None:
    assert parse_row(row).messages == (Message("user", "Why?"), Message("assistant", "Because."))


def test_an_instruction_and_its_input_are_one_question() -> None:
    (question, _) = parse_row({"instruction": "Sum up.", "input": "A text.", "output": "Short."}).messages

    assert question.content == "Sum up.\n\nA text."


def test_a_system_column_is_the_first_message() -> None:
    row = {"instruction": "Why?", "output": "Because.", "system": "Be brief."}

    assert parse_row(row).messages[0] == Message("system", "Be brief.")


def test_plain_text_is_one_message_without_turns() -> None:
    parsed = parse_row({"text": "Once upon a time."})

    assert parsed.plain
    assert parsed.messages == (Message("assistant", "Once upon a time."),)


def test_tools_and_their_calls_are_kept_with_arguments_as_objects() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "days", "arguments": '{"of": "notice"}'}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
        {"role": "tool", "content": "90", "tool_call_id": "1", "name": "days"},
        ANSWER,
    ]

    parsed = parse_row({"messages": messages, "tools": '[{"type": "function"}]'})

    called, told = parsed.messages[1:3]
    assert called.tool_calls[0]["function"] == {"name": "days", "arguments": {"of": "notice"}}
    assert (called.weight, called.trained, parsed.messages[3].trained) == (0, False, True)
    assert told.to_dict() == messages[2]
    assert parsed.tools == ({"type": "function"},)


def nested(levels: int) -> Any:
    return json.loads('{"a": ' * levels + "1" + "}" * levels)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"a": "\\ud83d"}', "BrokenText"),
        ('{"\\ud83d": "a"}', "BrokenText"),
        ({"a": "\ud83d"}, "BrokenText"),
        ({"day": datetime.date(2026, 1, 2)}, "WrongType"),
        (nested(600), "WrongType"),
        (json.dumps(nested(600)), "WrongType"),
    ],
)
def test_arguments_of_a_call_are_what_json_can_write(arguments: Any, code: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}

    with pytest.raises(RowError, match=code):
        parse_row({"messages": [USER, {"role": "assistant", "tool_calls": [call]}]})


def test_tools_are_nested_within_reason() -> None:
    with pytest.raises(RowError, match="WrongType"):
        parse_row({"messages": [USER, ANSWER], "tools": [nested(600)]})
    assert parse_row({"messages": [USER, ANSWER], "tools": [nested(90)]}).tools == (nested(90),)


def test_a_named_format_decides_and_other_keys_are_unused() -> None:
    row = {"messages": [USER, ANSWER], "prompt": "a", "completion": "b"}

    parsed = parse_row(row, "PromptCompletion")

    assert [message.content for message in parsed.messages] == ["a", "b"]
    assert parsed.unused == {"messages"}


def test_columns_are_renamed_and_may_change_places(tmp_path: Path) -> None:
    row = {"prompt": "Because.", "Frage": "Why?"}

    checked = check(tmp_path, row, columns={"Frage": "prompt", "prompt": "completion"})

    assert [message.content for message in checked.conversations[0].messages] == ["Why?", "Because."]


def test_columns_that_meet_are_ambiguous(tmp_path: Path) -> None:
    problems = ProblemLog()

    with pytest.raises(StageError):
        check(tmp_path, {"Frage": "Why?", "prompt": "How?"}, problems=problems, columns={"Frage": "prompt"})

    assert [item.code for item in problems.rejected] == ["AmbiguousFormat"]


@pytest.mark.parametrize("named", ["Messages", "PromptCompletion", "Instruction", "Conversations", "Text"])
def test_a_row_of_another_format_than_the_named_lacks_its_fields(named: str) -> None:
    with pytest.raises(RowError, match="MissingField"):
        parse_row({"other": "Why?"}, named)


def test_the_system_prompt_goes_before_rows_that_have_none(tmp_path: Path) -> None:
    own = {"role": "system", "content": "Be long."}
    rows = [{"messages": [USER, ANSWER]}, {"messages": [own, USER, ANSWER]}, {"text": "Once."}]

    checked = check(tmp_path, *rows, system_prompt="Be brief.")

    first = [conversation.messages[0].content for conversation in checked.conversations]
    assert first == ["Be brief.", "Be long.", "Once."]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (["a list"], "NotAnObject"),
        ("a text", "NotAnObject"),
        ({"query": "Why?", "answer": "Because."}, "UnknownFormat"),
        ({"prompt": "Why?", "question": "Why?", "completion": "a", "answer": "a"}, "AmbiguousFormat"),
        ({"prompt": "a", "completion": "b", "system": 3}, "WrongType"),
        ({"prompt": "a", "completion": "\ud83d"}, "BrokenText"),
        ({"prompt": "a", "completion": "b", "\ud83d": "c"}, "BrokenText"),
        ({"text": ""}, "EmptyTurn"),
        ({"text": ["a"]}, "WrongType"),
        ({"conversations": []}, "WrongType"),
        ({"conversations": [{"from": "bard", "value": "a"}]}, "UnknownRole"),
        ({"conversations": [{"from": "human", "value": "a", "id": 1}]}, "UnknownMessageField"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "NoAssistantTurn"),
        ({"messages": [USER, {**ANSWER, "weight": 2}]}, "WrongWeight"),
        ({"messages": [USER, {**ANSWER, "weight": True}]}, "WrongWeight"),
        ({"messages": [{**USER, "weight": 0}, ANSWER]}, "WrongWeight"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "NothingTrained"),
        ({"messages": [{**USER, "name": "Ann"}, ANSWER]}, "UnknownMessageField"),
        ({"messages": [USER, {**ANSWER, "tool_calls": "x"}]}, "WrongType"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [{"function": "x"}]}]}, "WrongType"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, "WrongType"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}]}, "WrongType"),
        ({"messages": [USER, ANSWER], "tools": "nothing"}, "WrongType"),
        ({"messages": [USER, ANSWER], "tools": [{"name": "\udc00"}]}, "BrokenText"),
        ({}, "UnknownFormat"),
        ({"messages": [USER, ANSWER], "prompt": "a", "completion": "b"}, "AmbiguousFormat"),
        ({"prompt": 3, "completion": "b"}, "WrongType"),
        ({"messages": "Why?"}, "WrongType"),
        ({"messages": []}, "WrongType"),
        ({"messages": ["Why?"]}, "WrongType"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "WrongType"),
        ({"messages": [USER, {"role": "assistant"}]}, "WrongType"),
        ({"messages": [{"role": "human", "content": "Why?"}, ANSWER]}, "UnknownRole"),
        ({"messages": [USER, {**ANSWER, "refusal": "no"}]}, "UnknownMessageField"),
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
    assert FINDINGS[code].advice


def test_all_bad_rows_are_found_and_the_first_is_named(tmp_path: Path) -> None:
    good = handbook_rows(4)
    problems = ProblemLog()

    with pytest.raises(StageError) as caught:
        check(tmp_path, good[0], "", '{"secret": ', good[1], {"messages": [USER]}, '{"x', problems=problems)

    assert caught.value.code is StageFailure.DATASET_SCHEMA
    expected = "ConfigMap hr-data, key train.jsonl, line 3: not valid JSON (2 more bad rows)"
    assert caught.value.message == expected
    assert caught.value.advice == FINDINGS["BrokenJson"].advice
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
    source = FileSource("train.jsonl", str(path))
    copies = copy_sources((source,), Workspace(tmp_path / "workspace")).copies

    problems = ProblemLog()
    checked = check_sources(copies, DatasetConfig((source,)), problems)

    with pytest.raises(StageError, match=r"train.jsonl, line 2: not UTF-8") as caught:
        require_few_bad_rows(problems, checked.rows, 0)

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


def test_unused_columns_are_reported(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "completion": "So."}, {"id": 1, "prompt": "How?", "completion": "So."}]

    assert check(tmp_path, *rows).unused_columns == ("id",)


@pytest.mark.parametrize(("percent", "fails"), [(33, True), (34, False), (100, False)])
def test_bad_rows_are_left_out_up_to_the_given_part(tmp_path: Path, percent: int, fails: bool) -> None:
    good = {"prompt": "Why?", "completion": "So."}

    if fails:
        with pytest.raises(StageError) as caught:
            check(tmp_path, good, "{secret", good, max_bad_rows_percent=percent)
        assert caught.value.code is StageFailure.DATASET_TOO_MANY_BAD_ROWS
        expected = (
            "1 of 3 rows cannot be trained on, more than 33 %; the first: ConfigMap hr-data, key train.jsonl, line 2"
        )
        assert caught.value.message == f"{expected}: not valid JSON"
        assert "dataset.maxBadRowsPercent" in caught.value.advice
    else:
        assert len(check(tmp_path, good, "{secret", good, max_bad_rows_percent=percent).conversations) == 2


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
        ('{"question": "a", "expcted": "b"}', "line 3: an unknown key"),
        ('{"question": "a", "expected": ' + "1" * 5000 + "}", "line 3: not valid JSON"),
        ('{"question": "\\ud83d", "expected": "b"}', "line 3: a text holds half of a character"),
        ('{"question": "a", "mustContain": [["\\ud83d"]]}', "line 3: a text holds half of a character"),
        ('{"expected": "b"}', "needs either question or messages"),
        ('{"question": "a", "messages": [], "expected": "b"}', "needs either question or messages"),
        ('{"question": " ", "expected": "b"}', "does not end with a user's question"),
        ('{"messages": [{"role": "assistant", "content": "a"}], "expected": "b"}', "does not end with a user's"),
        ('{"messages": 3, "expected": "b"}', "messages must be a list"),
        ('{"messages": [{"role": "tool", "name": "x", "content": "a"}], "expected": "b"}', "role and content only"),
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


def test_the_system_prompt_goes_before_questions_that_have_none() -> None:
    own = '{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "a"}], "expected": "b"}'

    first, second = parse_questions('{"question": "a", "expected": "b"}\n' + own, "q", "Be brief.")

    assert first.messages[0] == Message("system", "Be brief.")
    assert second.messages[0] == Message("system", "x")


def test_unanswerable_questions_need_no_expected_answer() -> None:
    (question,) = parse_questions('{"question": "a", "answerable": false}', "q")

    assert not question.answerable
