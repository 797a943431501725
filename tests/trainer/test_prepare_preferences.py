"""Preferences: how pairs of answers are written, what is wrong with them, and what prepare makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import make_job, write_lines
from vernacular_trainer.contract import DatasetConfig, FileSource, ObjectiveConfig, StageFailure, TrainingConfig
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.data.table import read_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare

DPO = ObjectiveConfig("DPO")


def pair(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "prompt": f"how long is the leave of number {number}",
        "chosen": f"{number} days",
        "rejected": "I don't know",
    }
    return row | changes


def test_texts_and_messages_are_the_same_pair() -> None:
    written = parse_row(pair(3))
    spoken = parse_row(
        {
            "prompt": [{"role": "user", "content": "how long is the leave of number 3"}],
            "chosen": [{"role": "assistant", "content": "3 days"}],
            "rejected": [{"role": "assistant", "content": "I don't know"}],
        }
    )

    assert written == spoken
    assert [message.content for message in written.messages] == ["how long is the leave of number 3", "3 days"]
    assert written.rejected == Message("assistant", "I don't know")


def hosted(**changes: Any) -> dict[str, Any]:
    """The pair number 3 as the fine-tuning API of OpenAI writes it."""
    asked = {
        "messages": [{"role": "user", "content": "how long is the leave of number 3"}],
        "parallel_tool_calls": True,
    }
    row = {
        "input": asked,
        "preferred_output": [{"role": "assistant", "content": "3 days"}],
        "non_preferred_output": [{"role": "assistant", "content": "I don't know"}],
    }
    return row | changes


def test_pairs_of_the_hosted_api_are_read() -> None:
    parsed = parse_row(hosted(), pairs=True)

    assert (parsed.messages, parsed.rejected) == (parse_row(pair(3)).messages, parse_row(pair(3)).rejected)
    assert parsed.unused == {"input.parallel_tool_calls"}
    assert parse_row(hosted(), "Preference").messages == parsed.messages


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"input": "a"}, "WrongType"),
        ({"input": {}}, "MissingField"),
        ({"input": {"messages": "a", "tools": 7}}, "WrongType"),
        ({"input": {"messages": "a", "\ud800": 1}}, "BrokenText"),
        ({"preferred_output": []}, "WrongType"),
    ],
)
def test_what_is_wrong_with_pairs_of_the_hosted_api(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(hosted(**changes))
    assert caught.value.code == code


def test_answers_that_differ_in_form_alone_are_a_pair() -> None:
    assert parse_row(pair(1, chosen="- a\n- b", rejected="- A - b")).rejected


def test_of_several_formats_that_a_row_shows_the_objective_decides() -> None:
    both = pair(1, messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])

    assert parse_row(both, pairs=True).rejected
    assert parse_row(both, pairs=False).messages[-1].content == "b"


def test_only_the_last_answer_of_a_pair_is_trained() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]

    parsed = parse_row(pair(1, prompt=turns))

    assert [message.trained for message in parsed.messages] == [False, False, False, True]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rejected": " 1 days "}, "SameAnswers"),
        ({"rejected": " "}, "EmptyTurn"),
        ({"chosen": ""}, "EmptyTurn"),
        ({"chosen": 7}, "WrongType"),
        ({"rejected": []}, "WrongType"),
        ({"rejected": [{"role": "user", "content": "x"}]}, "NotOneAnswer"),
        ({"chosen": [{"role": "assistant", "content": "x"}] * 2}, "NotOneAnswer"),
        ({"prompt": []}, "WrongType"),
        ({"prompt": " "}, "EmptyTurn"),
        ({"completion": "x"}, "AmbiguousFormat"),
    ],
)
def test_pairs_that_cannot_be_learnt_from(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(pair(1, **changes))

    assert caught.value.code == code


def test_rows_that_differ_in_the_rejected_answer_are_no_duplicates() -> None:
    messages = (Message("user", "a"), Message("assistant", "b"))
    one, other = (Conversation("r", messages, rejected=Message("assistant", text)) for text in ("c", "d"))

    assert one.digest != other.digest
    assert one.digest != Conversation("r", messages).digest
    assert one.with_rejected.messages[-1].content == "c"


def preferences(tmp_path: Path, model: Path, rows: list[Any], **changes: Any) -> Any:
    train = write_lines(tmp_path / "train.jsonl", rows)
    return make_job(tmp_path, model, train, **{"objective": DPO, **changes})


def test_prepare_leaves_both_answers_of_a_pair_together(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = preferences(tmp_path, tiny_model, [pair(number) for number in range(30)])

    summary = prepare.run(config, workspace)

    train, held_out = read_rows(workspace.train_rows), read_rows(workspace.validation_rows)
    assert (summary.rows, summary.train + summary.validation) == (30, 30)
    assert (len(train), len(held_out)) == (2 * summary.train, 2 * summary.validation)
    for chosen, rejected in zip(train[0::2], train[1::2], strict=True):
        assert chosen.row == rejected.row
        asked = chosen.labels.index(next(label for label in chosen.labels if label != -100))
        assert chosen.input_ids[:asked] == rejected.input_ids[:asked]
        assert chosen.input_ids != rejected.input_ids
    values = {value.name: value.value for value in summary.plan}
    assert (values["objective"], values["beta"], values["learningRate"]) == ("DPO", "0.1", "2e-05")
    assert summary.plan_summary.startswith("DPO, LoRA rank 16")
    # what is chosen is what is asked for
    asked = json.loads(workspace.questions.read_text().splitlines()[0])
    assert asked["expected"].endswith("days")


def test_clean_rows_give_the_same_pairs(tmp_path: Path, tiny_model: Path) -> None:
    rows = [pair(number) for number in range(12)]
    config, workspace = preferences(tmp_path, tiny_model, rows)

    prepare.run(config, workspace)

    clean = [parse_row(json.loads(line)) for line in workspace.clean_rows.read_text().splitlines()]
    assert clean == [parse_row(row) for row in rows]


def test_personal_data_of_a_rejected_answer_is_masked(tmp_path: Path, tiny_model: Path) -> None:
    rows = [pair(number, rejected=f"ask anna.{number}@example.org") for number in range(12)]
    source = (FileSource("train.jsonl", str(tmp_path / "train.jsonl")),)
    config, workspace = preferences(tmp_path, tiny_model, rows, dataset=DatasetConfig(source, personal_data="Redact"))

    prepare.run(config, workspace)

    assert "example.org" not in workspace.clean_rows.read_text()
    assert "[EMAIL]" in workspace.clean_rows.read_text()


def test_pairs_that_differ_in_what_is_masked_alone_are_left_out(tmp_path: Path, tiny_model: Path) -> None:
    rows = [pair(number) for number in range(12)]
    rows.append(pair(99, chosen="write to anna@example.org", rejected="write to bob@example.org"))
    source = (FileSource("train.jsonl", str(tmp_path / "train.jsonl")),)
    dataset = DatasetConfig(source, personal_data="Redact", max_bad_rows_percent=50)
    config, _ = preferences(tmp_path, tiny_model, rows, dataset=dataset)

    summary = prepare.run(config, _)

    assert (summary.rows, summary.dropped) == (13, 1)
    assert {problem.code for problem in summary.problems} >= {"SameAnswers"}


def test_choices_against_several_answers_are_neither_duplicates_nor_contradictions(
    tmp_path: Path, tiny_model: Path
) -> None:
    rows = [pair(number) for number in range(12)]
    rows += [pair(1, rejected="ask somebody else about it"), pair(1, chosen="I don't know", rejected="go away")]
    source = (FileSource("train.jsonl", str(tmp_path / "train.jsonl")),)
    dataset = DatasetConfig(source, duplicates="DropNear")
    config, _ = preferences(tmp_path, tiny_model, rows, dataset=dataset)

    summary = prepare.run(config, _)

    assert summary.dropped == 0
    assert not {problem.code for problem in summary.problems} & {"NearDuplicate", "ContradictingAnswers"}


@pytest.mark.parametrize(
    ("objective", "row", "code"),
    [
        (DPO, {"prompt": "a", "completion": "b"}, "PreferenceMissing"),
        (ObjectiveConfig(), pair(1), "PreferenceUnexpected"),
    ],
)
def test_rows_of_the_other_objective_are_refused(
    tmp_path: Path, tiny_model: Path, objective: ObjectiveConfig, row: Any, code: str
) -> None:
    config, workspace = preferences(tmp_path, tiny_model, [row] * 12, objective=objective)

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is StageFailure.DATASET_SCHEMA
    assert json.loads(workspace.data_report.read_text())["problems"][0]["code"] == code


def test_a_pair_that_loses_an_answer_to_the_sequence_length_is_left_out(tmp_path: Path, tiny_model: Path) -> None:
    rows = [pair(number) for number in range(12)] + [pair(99, prompt="leave " * 80)]
    config, workspace = preferences(tmp_path, tiny_model, rows, training=TrainingConfig(max_sequence_length=40))

    summary = prepare.run(config, workspace)

    assert summary.dropped == 1
    assert {problem.code for problem in summary.problems} >= {"AnswerCutAway"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": ObjectiveConfig("DPO", "0")}, "dpo.beta is 0"),
        ({"objective": ObjectiveConfig("DPO", "x")}, "dpo.beta 'x' is not a number"),
        ({"training": TrainingConfig(loss="AllTokens")}, "AllTokens does not go with objective DPO"),
    ],
)
def test_settings_that_do_not_go_with_pairs(
    tmp_path: Path, tiny_model: Path, changes: dict[str, Any], says: str
) -> None:
    config, workspace = preferences(tmp_path, tiny_model, [pair(number) for number in range(12)], **changes)

    with pytest.raises(StageError, match=says):
        prepare.run(config, workspace)
