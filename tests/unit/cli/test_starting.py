"""The first job for a file of rows: it says what was seen, and nothing is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.apiserver import REPOSITORY
from support.command_line import Shell
from vernacular.cli.errors import CliError
from vernacular.cli.jobfile import jobs_of
from vernacular.cli.starting import SHAPES, Look, check_words, job_text, look, name_for
from vernacular.cli.validation import job_schema
from vernacular_trainer.data import formats

MODEL = "hf://org/model"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return job_schema()


def test_formats_are_those_of_the_prepare_stage() -> None:
    assert set(SHAPES) == {(shape.format, shape.required) for shape in formats.SHAPES}


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("a.jsonl", b'{"messages": []}\n\n{"messages": []}\n', Look(2, "Messages")),
        ("a.jsonl", b'\xef\xbb\xbf{"prompt": "a", "chosen": "b", "rejected": "c"}', Look(1, "Preference")),
        ("a.json", b'[{"text": "a"}, {"text": "b"}]', Look(2, "Text")),
        ("a.csv", b"question,answer\nq,a\nq,a\n", Look(2, "PromptCompletion")),
        ("a.tsv", b"Frage\tAntwort\nq\ta\n", Look(1, "PromptCompletion", ("Frage", "Antwort"))),
        ("a.csv", b"question;answer\nq, r;a\n;\n", Look(1, "PromptCompletion")),
        ("a.csv", b";;\nquestion\tanswer\nq\ta\n", Look(1, "PromptCompletion")),
        ("a.csv", b"question,answer\nq," + b"a" * 200_000, Look(1, "PromptCompletion")),
        ("a.jsonl", '{"text": "a\u2028b"}\n'.encode(), Look(1, "Text")),
        ("a.parquet", b"PAR1", Look()),
        ("a.jsonl.gz", b"\x1f\x8b", Look()),
    ],
)
def test_what_is_seen(name: str, content: bytes, seen: Look, schema: dict[str, Any]) -> None:
    assert look(name, content) == seen
    for fits in (True, False):
        text = job_text(name, seen, "hr-bot", MODEL, fits=fits).replace(f'file: "{name}"', "uri: pvc://CLAIM/x")
        (job,) = jobs_of(text.replace("CLAIM", "claim"), Path(), schema)
        assert job.problems == ()
    dataset = job.job["spec"]["dataset"]
    assert dataset.get("columns") == ({"Frage": "question", "Antwort": "answer"} if seen.columns else None)
    assert job.job["spec"].get("objective") == ("DPO" if seen.format == "Preference" else None)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "a.jsonl has no rows"),
        ("a.jsonl", b"{}\n{", "a.jsonl line 2 is no JSON"),
        ("a.json", b"{", "a.json is no JSON"),
        ("a.jsonl", b"7", "the first row of a.jsonl is no object"),
        ("a.csv", b"\xff", "a.csv is no UTF-8 text"),
        ("a.csv", b"a,b,c\n1,2,3\n", "rows of a.csv have the columns a, b, c, which no format has"),
    ],
)
def test_files_that_are_no_rows(name: str, content: bytes, says: str) -> None:
    with pytest.raises(CliError) as caught:
        look(name, content)

    assert caught.value.message.startswith(says)
    assert caught.value.advice


@pytest.mark.parametrize(
    ("file", "name"),
    [("HR Rows.jsonl", "hr-rows"), ("2026-q1_hr.csv", "q1-hr"), ("7.csv", "my-job"), ("a" * 50 + ".csv", "a" * 40)],
)
def test_the_name_of_the_job(file: str, name: str) -> None:
    assert name_for(file) == name


@pytest.mark.parametrize("name", ["no", "y", "null", "hr-bot"])
def test_every_name_stays_a_text(name: str, schema: dict[str, Any]) -> None:
    (job,) = jobs_of(job_text("a.parquet", Look(), name, "pvc://claim/a: #b", fits=False), Path(), schema)

    assert job.name == name
    assert job.job["spec"]["model"]["uri"] == "pvc://claim/a: #b"


@pytest.mark.parametrize(
    ("name", "model", "says", "advice"),
    [
        ("HR", MODEL, "metadata.name must start with a lower-case letter", "--name"),
        ("a" * 41, MODEL, "metadata.name must have at most 40 characters", "--name"),
        ("hr-bot", "gpt2", "spec.model.uri must be pvc://CLAIM/PATH", "--model"),
    ],
)
def test_words_that_no_job_may_have(name: str, model: str, says: str, advice: str) -> None:
    check_words("hr-bot", MODEL)

    with pytest.raises(CliError, match=says) as caught:
        check_words(name, model)

    assert advice in caught.value.advice


def test_files_that_submit_does_not_take_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}')
    (tmp_path / "here" / "large.jsonl").write_text(
        "".join(f'{{"text": "{os.urandom(600).hex()}"}}\n' for _ in range(2000))
    )
    (tmp_path / "here" / "packed.jsonl").write_text('{"text": "a"}\n' * 100_000)
    shell = Shell(None, tmp_path / "here")

    outside = shell.run("init", str(tmp_path / "rows.jsonl")).stdout
    large = shell.run("init", "large.jsonl", "--to", "large.yaml").stdout

    packed = shell.run("init", "packed.jsonl", "--to", "packed.yaml").stdout

    # submit packs what fits so
    assert packed == "packed.yaml is written; change what you like, then: vernacular submit packed.yaml --watch\n"
    assert 'file: "packed.jsonl"' in (tmp_path / "here" / "packed.yaml").read_text()
    assert outside.endswith(f"then: vernacular submit job.yaml --data {tmp_path / 'rows.jsonl'} --watch\n")
    assert "copy it to a claim of the namespace, and name that for CLAIM, then:" in large


def test_from_a_file_to_a_job_that_can_be_submitted(tmp_path: Path) -> None:
    shell = Shell(None, tmp_path)
    (tmp_path / "rows.jsonl").write_bytes((REPOSITORY / "examples" / "hr-bot" / "train.jsonl").read_bytes())
    (tmp_path / "jobs").mkdir()

    first = shell.run("init", "rows.jsonl", "--to", "jobs/hr.yaml", "--name", "hr-bot")
    again = shell.run("init", "rows.jsonl", "--to", "jobs/hr.yaml")

    assert first.returncode == 0, first.stderr
    assert 'file: "../rows.jsonl"   # 117 rows, Messages' in (tmp_path / "jobs" / "hr.yaml").read_text()
    assert shell.run("validate", "jobs/hr.yaml").stdout == "jobs/hr.yaml: FineTuneJob hr-bot is valid\n"
    # what a person has changed is not lost
    assert again.returncode == 1
    assert "jobs/hr.yaml is there already" in again.stderr
    assert "cannot be read" in shell.run("init", "nothing.jsonl").stderr
