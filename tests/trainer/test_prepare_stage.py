"""The prepare stage as a whole, on real files; and that it needs no torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from support.stage_jobs import AWAY, handbook_rows, make_job, write_lines
from vernacular_trainer.contract import (
    ComputeConfig,
    DatasetConfig,
    EvaluationConfig,
    FileSource,
    MethodConfig,
    Outcome,
    PlanValue,
    PrepareSummary,
    Stage,
    StageFailure,
    StageReport,
    TrackingConfig,
    TrainerConfig,
    TrainingConfig,
    summary_to_dict,
)
from vernacular_trainer.data.chat import NOT_TRAINED, load_tokenizer
from vernacular_trainer.data.held_out import HELD_OUT_QUESTIONS, ask_held_out
from vernacular_trainer.data.questions import parse_questions
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.split import Split
from vernacular_trainer.data.table import read_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan
from vernacular_trainer.stages import prepare
from vernacular_trainer.workspace import Workspace

WITHOUT_TORCH = """
import sys
for name in ("torch", "peft", "accelerate", "deepspeed", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
from vernacular_trainer.contract import JobConfig
from vernacular_trainer.stages import prepare, publish
from vernacular_trainer.workspace import Workspace
config = JobConfig.from_json(Path(sys.argv[1]).read_text())
print(prepare.run(config, Workspace(Path(config.workspace))).total_steps)
assert not any(name.split(".")[0] == "torch" and module for name, module in sys.modules.items())
"""


def run(root: Path, model: Path, rows: list[Any], **changes: Any) -> tuple[PrepareSummary, Workspace]:
    config, workspace = make_job(root, model, write_lines(root / "in" / "train.jsonl", rows), **changes)
    return prepare.run(config, workspace), workspace


def failure(root: Path, model: Path, rows: list[Any], **changes: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        run(root, model, rows, **changes)
    assert caught.value.outcome is Outcome.USER_ERROR
    return caught.value


def test_everything_a_training_needs_is_in_the_workspace(tmp_path: Path, tiny_model: Path) -> None:
    rows = handbook_rows(40)

    summary, workspace = run(tmp_path, tiny_model, rows)

    assert (summary.rows, summary.train, summary.validation, summary.dropped) == (40, 35, 5, 0)
    train, validation = read_rows(workspace.train_rows), read_rows(workspace.validation_rows)
    assert (len(train), len(validation)) == (35, 5)
    assert summary.tokens == sum(len(row.input_ids) for row in train)
    plan = json.loads(workspace.plan.read_text())
    assert set(plan) == {field.name for field in dataclasses.fields(ResolvedPlan)}
    assert plan["total_steps"] == summary.total_steps == 15
    assert (workspace.inputs / "train-0.jsonl").read_text() == (tmp_path / "in" / "train.jsonl").read_text()
    (described,) = json.loads((workspace.inputs / "inputs.json").read_text())
    assert described["name"] == "ConfigMap hr-data, key train.jsonl"
    assert described["digest"].startswith("sha256:")
    report = json.loads(workspace.data_report.read_text())
    assert report["model"]["architecture"] == "LlamaForCausalLM"
    assert report["tracking"] == "Away"
    assert 0 < report["trained_tokens"] < sum(len(row.input_ids) for row in [*train, *validation])


def test_what_the_gpus_have_no_memory_for_is_refused_before_one_is_asked_for(tmp_path: Path, tiny_model: Path) -> None:
    fits = ComputeConfig(gpus_per_pod=1, gpu_memory_gib=80)
    summary, _ = run(tmp_path / "a", tiny_model, handbook_rows(40), compute=fits)
    error = failure(tmp_path / "b", tiny_model, handbook_rows(40), compute=dataclasses.replace(fits, gpu_memory_gib=1))

    (memory,) = [value for value in summary.plan if value.name == "memoryGiB"]
    assert 1 < float(memory.value) < 2
    assert error.code is StageFailure.DOES_NOT_FIT
    assert error.message == f"the training needs {memory.value} GiB of each GPU, which has 1"
    assert not (tmp_path / "b" / "workspace" / "plan.json").exists()
    own = TrainerConfig(("axolotl", "train"))
    run(tmp_path / "c", tiny_model, handbook_rows(40), compute=dataclasses.replace(fits, gpu_memory_gib=1), trainer=own)


def test_all_tokens_are_trained_when_the_user_says_so(tmp_path: Path, tiny_model: Path) -> None:
    summary, workspace = run(tmp_path, tiny_model, handbook_rows(40), training=TrainingConfig(loss="AllTokens"))

    for row in read_rows(workspace.train_rows):
        assert row.labels == (NOT_TRAINED, *row.input_ids[1:])
    assert next(value for value in summary.plan if value.name == "loss").value == "AllTokens"


def test_held_out_rows_are_asked_when_the_user_has_no_questions(tmp_path: Path, tiny_model: Path) -> None:
    summary, workspace = run(tmp_path, tiny_model, handbook_rows(40))

    questions = parse_questions(workspace.questions.read_text(), "held-out rows")

    assert len(questions) == 5
    assert [value for value in summary.plan if value.name == "provableGain"] == [
        PlanValue("provableGain", "above 44 points", "5 questions are asked; 92 more prove gains above 10")
    ]
    assert all(question.expected.startswith("The leave is") for question in questions)


def test_held_out_rows_are_asked_once_each_and_those_with_tools_never(tmp_path: Path) -> None:
    call = {"function": {"name": "days", "arguments": {}}}
    question, answer = Message("user", "How long?"), Message("assistant", "90 days")
    told = (question, Message("assistant", "", tool_calls=(call,)), Message("tool", "90", tool_call_id="1"), answer)
    untaught = (question, Message("tool", "90", name="days"), Message("user", "Well?"), answer)
    other = (Message("user", "how long"), Message("assistant", "90 days."))
    rows = [
        *(Conversation(f"a:{i}", told) for i in range(100)),
        Conversation("a:100", untaught),
        Conversation("a:101", (Message("assistant", "a text"),), plain=True),
        *(Conversation("a:102", messages) for messages in ((question, answer), other)),
        *(Conversation(f"b:{i}", (Message("user", f"How long is {i}?"), answer)) for i in range(120)),
    ]
    workspace = Workspace(tmp_path)

    number = ask_held_out(rows, Split((), tuple(range(len(rows)))), workspace)

    questions = parse_questions(workspace.questions.read_text(), "held-out rows")
    assert number == len(questions) == HELD_OUT_QUESTIONS
    assert [question.messages[-1].content for question in questions][:2] == ["How long?", "How long is 0?"]
    assert ask_held_out(rows, Split((), (0, 100, 101)), workspace) == 0


def test_questions_of_the_user_are_checked_and_copied(tmp_path: Path, tiny_model: Path) -> None:
    path = write_lines(tmp_path / "q.jsonl", [{"question": "how long", "expected": "90 days"}])
    evaluation = EvaluationConfig(FileSource("ConfigMap hr-q, key q.jsonl", str(path)))

    summary, workspace = run(tmp_path, tiny_model, handbook_rows(40), evaluation=evaluation)

    assert workspace.questions.read_bytes() == path.read_bytes()
    without, _ = run(tmp_path / "b", tiny_model, handbook_rows(40))
    assert summary.digest != without.digest


def test_two_runs_give_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    first, a = run(tmp_path / "a", tiny_model, handbook_rows(40))
    second, b = run(tmp_path / "b", tiny_model, handbook_rows(40))
    again, _ = run(tmp_path / "a", tiny_model, handbook_rows(40))

    assert first == second == again
    for path in (a.train_rows, a.validation_rows, a.plan, a.questions):
        assert path.read_bytes() == (b.root / path.relative_to(a.root)).read_bytes()


def test_several_sources_are_mixed(tmp_path: Path, tiny_model: Path) -> None:
    sources = tuple(
        FileSource(f"pvc://hr/{name}.jsonl", str(write_lines(tmp_path / f"{name}.jsonl", rows)))
        for name, rows in (("a", handbook_rows(20)), ("b", [{"prompt": f"p{i}", "completion": "c"} for i in range(20)]))
    )
    config, workspace = make_job(tmp_path, tiny_model, sources)

    summary = prepare.run(config, workspace)

    assert summary.rows == 40
    assert {row.row.partition(":")[0] for row in read_rows(workspace.train_rows)} == {"pvc"}
    assert (workspace.inputs / "train-1.jsonl").exists()


def test_a_workbook_with_columns_of_its_own_is_trained_with_the_system_prompt(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "hr.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("HR")
        for number, cells in enumerate([("Frage", "Antwort"), *((f"how long {i}", f"{i} days") for i in range(40))]):
            sheet.write_row(number, 0, cells)
    dataset = DatasetConfig(
        (FileSource("pvc://hr/hr.xlsx", str(path)),),
        teaches="Skill",
        format="PromptCompletion",
        columns={"Frage": "question", "Antwort": "answer"},
        system_prompt="Be brief.",
    )
    config, workspace = make_job(tmp_path, tiny_model, path, dataset=dataset)

    summary = prepare.run(config, workspace)

    assert (summary.rows, summary.train, summary.validation) == (40, 38, 2)
    assert read_rows(workspace.train_rows)[0].row == "pvc://hr/hr.xlsx:HR!A2"
    assert (workspace.inputs / "train-0.xlsx").exists()
    for question in parse_questions(workspace.questions.read_text(), "held-out rows"):
        assert question.messages[0].content == "Be brief."


def test_every_row_that_was_read_is_trained_held_out_or_dropped(tmp_path: Path, tiny_model: Path) -> None:
    good = handbook_rows(60)
    refused = {"messages": [*good[0]["messages"][:1], {"role": "assistant", "content": "b"}], "tools": [{"name": "f"}]}
    mail = {"prompt": "who is asked", "completion": "ann@example.com is asked"}
    rows = [*good, good[0], "{", refused, mail]
    dataset = DatasetConfig(
        (FileSource("train.jsonl", str(write_lines(tmp_path / "in" / "train.jsonl", rows))),),
        duplicates="DropExact",
        personal_data="Redact",
        max_bad_rows_percent=4,
    )
    config, workspace = make_job(tmp_path, tiny_model, tmp_path, dataset=dataset)

    summary = prepare.run(config, workspace)

    assert (summary.rows, summary.dropped, summary.duplicates) == (64, 3, 1)
    assert summary.train + summary.validation == 61
    assert [(problem.severity, problem.code) for problem in summary.problems] == [
        ("Error", "BrokenJson"),
        ("Error", "ToolsIgnored"),
        ("Warning", "PersonalData"),
        ("Warning", "Duplicate"),
        ("Warning", "ContradictingAnswers"),
        ("Info", "WordedOnce"),
        ("Info", "FewQuestions"),
    ]
    to_write = workspace.questions_to_write.read_text("utf-8-sig").splitlines()
    assert to_write == ["row,question,answer", "train.jsonl:64,who is asked,[EMAIL] is asked"]
    tokenizer = load_tokenizer(tiny_model, "tiny")
    trained = [row for path in (workspace.train_rows, workspace.validation_rows) for row in read_rows(path)]
    assert "[EMAIL] is asked" in tokenizer.decode(next(row for row in trained if row.row == "train.jsonl:64").input_ids)

    strict = dataclasses.replace(config, dataset=dataclasses.replace(dataset, max_bad_rows_percent=3))
    with pytest.raises(StageError) as caught:
        prepare.run(strict, workspace)
    assert caught.value.code is StageFailure.DATASET_TOO_MANY_BAD_ROWS
    assert caught.value.message.startswith("2 of 64 rows cannot be trained on, more than 3 %; the first: train.jsonl,")


def test_a_cut_answer_is_counted_and_a_cut_away_one_dropped(tmp_path: Path, tiny_model: Path) -> None:
    long_answer = {"prompt": "how long", "completion": "days " * 60}
    long_question = {"prompt": "days " * 60, "completion": "yes"}
    training = TrainingConfig(max_sequence_length=48)

    summary, workspace = run(tmp_path, tiny_model, [*handbook_rows(38), long_answer, long_question], training=training)

    assert (summary.rows, summary.dropped, summary.train + summary.validation) == (40, 1, 39)
    problems = {problem.code: problem for problem in summary.problems}
    assert problems["AnswerCut"].first_rows == ("ConfigMap hr-data, key train.jsonl:39",)
    assert problems["AnswerCutAway"].first_rows == ("ConfigMap hr-data, key train.jsonl:40",)
    assert "training.maxSequenceLength" in problems["AnswerCutAway"].advice
    assert max(len(row.input_ids) for row in read_rows(workspace.train_rows)) <= 48


def test_nothing_left_to_learn_is_an_error(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"prompt": f"days {i} " * 60, "completion": "yes"} for i in range(10)]

    error = failure(tmp_path, tiny_model, rows, training=TrainingConfig(max_sequence_length=32))

    assert error.code is StageFailure.NO_TRAINABLE_TOKENS
    assert "within the first 32 tokens" in error.message


def test_too_few_rows_are_an_error_before_and_after_cutting(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"prompt": f"days {i} " * 60, "completion": "yes"} for i in range(10)]

    few = failure(tmp_path, tiny_model, handbook_rows(7))
    cut = failure(
        tmp_path / "b", tiny_model, [*handbook_rows(2), *rows], training=TrainingConfig(max_sequence_length=48)
    )

    assert few.code is cut.code is StageFailure.DATASET_TOO_SMALL
    assert few.message == "the data set has 7 usable rows; at least 8 are needed"
    assert "keeps, after cutting to training.maxSequenceLength, 2 usable rows" in cut.message


def test_the_report_of_a_failed_check_names_all_problems_but_no_text(tmp_path: Path, tiny_model: Path) -> None:
    good = handbook_rows(9)
    error = failure(tmp_path, tiny_model, [*good, "{secret", {"messages": "secret"}, good[0]])

    text = (tmp_path / "workspace" / "reports" / "data.json").read_text()

    assert [problem["code"] for problem in json.loads(text)["problems"]] == [
        "BrokenJson",
        "WrongType",
        "Duplicate",
        "FewRows",
    ]
    assert "secret" not in text
    assert "Duplicate x1: ConfigMap hr-data, key train.jsonl:12" in error.evidence


def test_nothing_held_out_is_said(tmp_path: Path, tiny_model: Path) -> None:
    rows_file = write_lines(tmp_path / "train.jsonl", handbook_rows(20))
    dataset = DatasetConfig((FileSource("train.jsonl", str(rows_file)),), validation_split_percent=0)
    config, workspace = make_job(tmp_path, tiny_model, rows_file, dataset=dataset)

    summary = prepare.run(config, workspace)

    assert summary.validation == 0
    assert [problem.code for problem in summary.problems] == ["NothingHeldOut", "FewRows"]
    assert read_rows(workspace.validation_rows) == []
    assert workspace.questions.read_text() == ""


def test_modules_that_the_model_lacks_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    error = failure(tmp_path, tiny_model, handbook_rows(9), method=MethodConfig(target_modules=("q_proj", "c_attn")))

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert "has no module c_attn" in error.message
    assert "q_proj" in error.advice


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("missing.jsonl", StageFailure.QUESTIONS_UNREADABLE, "ConfigMap hr-q, key missing.jsonl does not exist"),
        ("broken.jsonl", StageFailure.QUESTIONS_UNREADABLE, "ConfigMap hr-q, key broken.jsonl, line 1: not valid JSON"),
    ],
)
def test_unreadable_questions_fail_before_the_model_is_touched(
    tmp_path: Path, name: str, code: StageFailure, message: str
) -> None:
    write_lines(tmp_path / "broken.jsonl", ["{"])
    evaluation = EvaluationConfig(FileSource(f"ConfigMap hr-q, key {name}", str(tmp_path / name)))

    error = failure(tmp_path, tmp_path / "no-model", handbook_rows(9), evaluation=evaluation)

    assert error.code is code
    assert error.message == message


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    error = failure(tmp_path, tmp_path / "typo", handbook_rows(9))

    assert error.code is StageFailure.MODEL_NOT_FOUND
    assert error.message == "pvc://models/tiny does not exist on the claim"


def test_a_missing_tracking_secret_is_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty").mkdir()
    tracking = TrackingConfig(AWAY, "demo.hr-bot", credentials_name="mlflow", credentials_path=str(tmp_path / "empty"))

    error = failure(tmp_path, tiny_model, handbook_rows(9), tracking=tracking)

    assert error.code is StageFailure.SECRET_MISSING
    assert "the Secret mlflow of tracking.mlflow" in error.message


def test_the_summary_of_the_worst_data_still_fits_a_termination_message(tmp_path: Path, tiny_model: Path) -> None:
    name = f"ConfigMap {'n' * 253}, key {'k' * 248}.jsonl"
    rows = [{"prompt": f"question {i}", "completion": "days " * (60 + i)} for i in range(20)]
    path = write_lines(tmp_path / "train.jsonl", [*rows, *rows, *handbook_rows(8)])
    training = TrainingConfig(max_sequence_length=48)
    config, workspace = make_job(tmp_path, tiny_model, (FileSource(name, str(path)),), training=training)

    summary = prepare.run(config, workspace)

    report = StageReport.from_json(StageReport(Outcome.DONE, summary=summary_to_dict(summary)).to_json())
    assert report.typed_summary(Stage.PREPARE) == summary
    assert summary.plan
    everything = json.loads(workspace.data_report.read_text())
    assert {problem["code"] for problem in everything["problems"]} >= {"Duplicate", "AnswerCut"}


def test_prepare_and_publish_need_no_torch(tmp_path: Path, tiny_model: Path) -> None:
    config, _ = make_job(tmp_path, tiny_model, write_lines(tmp_path / "in" / "train.jsonl", handbook_rows(20)))
    job = tmp_path / "job.json"
    job.write_text(config.to_json())

    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(job)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "6"
