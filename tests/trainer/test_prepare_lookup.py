"""Digests by which rows are found again, whatever a job made of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.__main__ import main
from vernacular_trainer.contract import DatasetConfig, FileSource, Stage
from vernacular_trainer.data.lookup import digests_of
from vernacular_trainer.stages import prepare

MAIL = "who answers at jo@example.com"


def used(path: Path) -> dict[str, str]:
    with path.open() as file:
        return {line["digest"]: line["use"] for line in csv.DictReader(file)}


def digests(path: Path, **columns: str) -> list[str]:
    return [digest for _, digest in digests_of(path, columns)]


def test_every_row_of_a_job_is_found_again(tmp_path: Path, tiny_model: Path) -> None:
    rows = [*handbook_rows(30), {"prompt": MAIL, "completion": "Jo"}]
    file = write_lines(tmp_path / "train.jsonl", rows)
    dataset = DatasetConfig(
        (FileSource("rows", str(file)),), system_prompt="Be short.", personal_data="Redact", duplicates="DropExact"
    )
    config, workspace = make_job(tmp_path, tiny_model, file, Stage.PREPARE, dataset=dataset)

    summary = prepare.run(config, workspace)

    known = used(workspace.row_digests)
    # also the one whose address was masked: it is asked for as it was
    assert set(digests(file)) == set(known)
    assert list(known.values()).count("test") == summary.validation
    assert "example.com" not in workspace.row_digests.read_text()


def test_a_row_is_the_same_in_every_format(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "How  long?"}, {"role": "assistant", "content": "90 DAYS"}]
    same = write_lines(
        tmp_path / "same.jsonl",
        [
            {"messages": turns},
            {"messages": [{"role": "system", "content": "Be short."}, *turns]},
            {"prompt": "how long?", "completion": "90 days "},
            {"conversations": [{"from": "human", "value": "how long?"}, {"from": "gpt", "value": "90 days"}]},
        ],
    )
    (tmp_path / "same.csv").write_text("Frage;Antwort\nHow long?;90 days\n")
    other = write_lines(tmp_path / "other.jsonl", [{"prompt": "how long?", "completion": "80 days"}, {"nothing": 1}])

    found = {*digests(same), *digests(tmp_path / "same.csv", Frage="question", Antwort="answer")}

    assert len(found) == 1
    assert found.isdisjoint(digests(other))
    assert digests(other)[1] == ""


def test_the_command_says_where_each_row_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}])

    assert main(["digests", str(file)]) == 0

    assert json.loads(capsys.readouterr().out) == [f"{file}:1", digests(file)[0]]


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digests", str(tmp_path / "nowhere.jsonl")]) == 78

    assert "nowhere.jsonl" in capsys.readouterr().err
