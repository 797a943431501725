"""Rows that are held out in files of their own: checked like all others, and never trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import FileSource, JobConfig, Outcome, StageFailure
from vernacular_trainer.data.lookup import digests_of
from vernacular_trainer.data.table import read_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare
from vernacular_trainer.workspace import Workspace


def pair(question: str, answer: str) -> dict[str, str]:
    return {"prompt": question, "completion": answer}


HELD = [pair(f"Say how long number {i} is away.", f"The leave is {i} days.") for i in range(5)]


def job_with(root: Path, model: Path, held: list[Any], **dataset: Any) -> tuple[JobConfig, Workspace]:
    """40 training rows, and rows that are held out beside them."""
    config, workspace = make_job(root, model, write_lines(root / "train.jsonl", handbook_rows(40)))
    file = write_lines(root / "held.jsonl", held)
    sources = (FileSource("pvc://hr/held.jsonl", str(file)),)
    changed = dataclasses.replace(config.dataset, validation=sources, validation_split_percent=0, **dataset)
    return dataclasses.replace(config, dataset=changed), workspace


def test_they_are_held_out_and_all_others_are_trained(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, HELD)

    summary = prepare.run(config, workspace)

    assert (summary.rows, summary.train, summary.validation, summary.dropped) == (45, 40, 5, 0)
    assert len(read_rows(workspace.validation_rows)) == 5
    asked = [json.loads(line) for line in workspace.questions.read_text().splitlines()]
    assert {item["messages"][-1]["content"] for item in asked} == {row["prompt"] for row in HELD}
    assert "LeakedValidation" not in {problem.code for problem in summary.problems}
    lines = json.loads(workspace.held_out_lines.read_text())["lines"]
    clean = workspace.clean_rows.read_text().splitlines()
    assert all("Say how long" in clean[line - 1] for line in lines)
    assert len(lines) == 5


def test_they_are_found_again_as_they_were_read(tmp_path: Path, tiny_model: Path) -> None:
    held = [*HELD, pair("Who answers at jo@example.com?", "Jo does.")]
    config, workspace = job_with(tmp_path, tiny_model, held, personal_data="Redact")

    prepare.run(config, workspace)

    listed = workspace.row_digests.read_text().splitlines()
    tested = {line.removesuffix(",test") for line in listed if line.endswith(",test")}
    assert tested == {digest for _, digest in digests_of(tmp_path / "held.jsonl", {})}
    assert len(listed) == 1 + 40 + 6


def test_what_training_rows_ask_in_the_same_words_is_told(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(
        tmp_path, tiny_model, [*HELD, pair("What is the leave of number 3?", "Three days off.")]
    )

    summary = prepare.run(config, workspace)

    (found,) = [problem for problem in summary.problems if problem.code == "LeakedValidation"]
    assert found.first_rows == ("pvc://hr/held.jsonl:6 and ConfigMap hr-data, key train.jsonl:8",)
    assert (found.severity, summary.validation) == ("Warning", 6)


def test_of_two_rows_that_say_the_same_the_training_row_stays(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, [*HELD, handbook_rows(40)[3]], duplicates="DropExact")

    summary = prepare.run(config, workspace)

    assert (summary.train, summary.validation, summary.dropped) == (40, 5, 1)


def test_bad_rows_among_them_are_found(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, [*HELD, pair("What?", " ")])

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is StageFailure.DATASET_SCHEMA
    assert caught.value.message.startswith("pvc://hr/held.jsonl, line 6: ")


def test_a_file_is_not_trained_and_held_out(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, handbook_rows(40))

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert (caught.value.code, caught.value.outcome) == (StageFailure.ARGUMENT_REFUSED, Outcome.USER_ERROR)
    assert caught.value.message.startswith("pvc://hr/held.jsonl is trained and held out")


def test_rows_that_are_all_repeated_leave_nothing_to_hold_out(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, handbook_rows(4), duplicates="DropExact")

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is StageFailure.DATASET_TOO_SMALL
    assert "dataset.validation.sources" in caught.value.message
