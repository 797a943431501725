"""`vernacular check`: the verdict of the checks as an exit status."""

from __future__ import annotations

import importlib.util
import io
import json
from argparse import Namespace
from pathlib import Path

import pytest

from support.command_line import Shell
from vernacular.api.spec import RowFormat
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.parser import FORMATS
from vernacular.cli.terminal import Terminal
from vernacular.cli.verbs import check

ROWS = [{"prompt": f"What is the code of office {n}?", "completion": f"Its code is {n * 17}."} for n in range(20)]


def test_formats_are_those_of_the_resource() -> None:
    assert tuple(RowFormat) == FORMATS


@pytest.mark.parametrize(
    ("extra", "code", "says"),
    [
        ([], ExitCode.DONE, "20 rows: 20 can be used, 0 cannot"),
        ([{"prompt": "q"}], ExitCode.REFUSED, "21 rows: 20 can be used, 1 cannot"),
    ],
)
def test_rows_are_checked_here(tmp_path: Path, extra: list[dict[str, str]], code: ExitCode, says: str) -> None:
    (tmp_path / "--rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *extra]))
    shell = Shell(None, tmp_path)

    done = shell.run("check", "--reports", "reports", "--", "--rows.jsonl")

    assert done.returncode == code, done.stderr
    assert says in done.stdout
    assert (tmp_path / "reports/data.html").exists()


def test_columns_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "Frage,Antwort\n" + "".join(f"Wo ist Büro {n}?,In Etage {n}.\n" for n in range(20))
    )

    done = Shell(None, tmp_path).run("check", "rows.csv", "--column", "Frage=question", "--column", "Antwort=answer")

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "20 rows: 20 can be used, 0 cannot" in done.stdout


def test_a_column_without_meaning_is_refused(tmp_path: Path) -> None:
    done = Shell(None, tmp_path).run("check", "rows.csv", "--column", "Frage")

    assert done.returncode == ExitCode.USAGE
    assert "--column Frage says no meaning write it like --column Frage=question" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("hr-bot/train.jsonl", "--questions", "hr-bot/questions.jsonl"),
        ("legal/train.jsonl", "--questions", "legal/questions.jsonl"),
        ("medical/train.jsonl", "--questions", "medical/questions.jsonl"),
        ("own-trainer/train.jsonl",),
        ("dpo/train.jsonl", "--objective", "DPO", "--teaches", "Skill"),
        ("spreadsheet/products.csv", "--column", "customer asks=question", "--column", "we say=answer"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_rows_of_the_examples_are_good(arguments: tuple[str, ...]) -> None:
    done = Shell(None, Path(__file__).parents[3] / "examples").run("check", *arguments)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert ", 0 cannot" in done.stdout
    assert "Error" not in done.stdout


def test_rows_that_are_held_out_have_files_of_their_own(tmp_path: Path) -> None:
    for name, rows in (("rows.jsonl", ROWS[:15]), ("a.jsonl", ROWS[15:17]), ("b.jsonl", ROWS[17:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = Shell(None, tmp_path).run("check", "rows.jsonl", "--validation", "a.jsonl", "--validation", "b.jsonl")

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "held out for the test: 5;" in done.stdout


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(io.StringIO(), io.StringIO(), colours=False, live=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(CliError) as caught:
        check.run(Namespace(files=[str(tmp_path / "rows.jsonl")]), terminal)

    assert "[data]" in caught.value.advice
