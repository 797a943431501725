"""Questions that a model cannot be asked are found by prepare, before a GPU is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import EvaluationConfig, FileSource, Outcome, StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare


@pytest.mark.parametrize(
    ("kind", "code", "what"),
    [
        ("questions", StageFailure.QUESTIONS_UNREADABLE, "asked:2"),
        ("system prompt", StageFailure.QUESTIONS_UNREADABLE, "asked:1"),
    ],
)
def test_a_question_without_room_for_an_answer_is_named(
    tmp_path: Path, tiny_model: Path, kind: str, code: StageFailure, what: str
) -> None:
    config, workspace = make_job(tmp_path, tiny_model, write_lines(tmp_path / "train.jsonl", handbook_rows(40)))
    long = "leave " * 2048
    asked = [{"question": "What is leave?", "expected": "Free days."}]
    if kind == "questions":
        asked.append({"question": long, "expected": "Free days."})
    else:
        config = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, system_prompt=long))
    file = write_lines(tmp_path / "asked.jsonl", asked)
    config = dataclasses.replace(config, evaluation=EvaluationConfig(FileSource("asked", str(file))))

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert (caught.value.code, caught.value.outcome) == (code, Outcome.USER_ERROR)
    assert caught.value.message.startswith(what)
    assert caught.value.message.endswith("tokens leave no room for an answer, the model reads 2,048")
