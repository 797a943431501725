"""`python -m vernacular_trainer check`: the checks of prepare on files of rows, on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from vernacular.api.spec import RowFormat
from vernacular_trainer.__main__ import FORMATS, main

WITHOUT_LIBRARIES = """
import sys
from vernacular_trainer.__main__ import main
code = main(sys.argv[1:])
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"torch", "transformers", "peft", "accelerate", "mlflow"}, loaded
sys.exit(code)
"""
GOOD = [
    {"prompt": f"How many days of leave has grade {grade} in {place}?", "completion": f"{days} days of paid leave."}
    for days, grade in enumerate("ABCDEFGH", 20)
    for place in ("Prague", "Lisbon", "Delhi")
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_formats_are_those_of_the_resource() -> None:
    assert tuple(RowFormat) == FORMATS


def test_good_rows_pass_without_the_libraries_of_models(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", GOOD)
    command = (sys.executable, "-c", WITHOUT_LIBRARIES, "check", str(rows), "--reports", str(tmp_path / "reports"))

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("24 rows: 24 can be used, 0 cannot\nheld out for the test: ")
    assert "Error" not in done.stdout
    clean = (tmp_path / "reports/clean.jsonl").read_text().splitlines()
    assert len(clean) == 24
    page = (tmp_path / "reports/data.html").read_text()
    assert "24 rows were read" in page
    assert not (tmp_path / "reports/rejected.xlsx").exists()


def test_bad_rows_are_all_told_and_handed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [{"prompt": "q", "completion": " "}, {"question": "q"}]
    rows = write(tmp_path / "rows.jsonl", [*GOOD, *bad])

    assert main(["check", str(rows), "--reports", str(tmp_path / "reports")]) == 78

    shown = capsys.readouterr()
    assert shown.out.startswith("26 rows: 24 can be used, 2 cannot\n")
    assert "[EmptyTurn]" in shown.out
    assert f"{rows}:25" in shown.out
    assert f"{rows}, line 25" in shown.err
    book = CalamineWorkbook.from_path(str(tmp_path / "reports/rejected.xlsx")).get_sheet_by_index(0).to_python()
    assert [line[0] for line in book[1:]] == [f"{rows}:25", f"{rows}:26"]


def test_several_files_and_questions_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "a.jsonl", GOOD[:12]), write(tmp_path / "b.jsonl", [*GOOD[12:], GOOD[0]])
    questions = write(
        tmp_path / "questions.jsonl",
        [{"question": GOOD[3]["prompt"], "expected": "21 days", "mustContain": [["21"]], "topic": "leave"}],
    )

    assert main(["check", str(first), str(second), "--questions", str(questions)]) == 0

    shown = capsys.readouterr().out
    assert f"[Duplicate] ({second}:13 and {first}:1)" in shown
    assert "[LeakedQuestion]" in shown
    assert "1 questions are asked" in shown


def test_files_that_are_held_out_are_read_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write(tmp_path / "rows.jsonl", GOOD)
    one = write(tmp_path / "one.jsonl", [{"prompt": GOOD[0]["prompt"], "completion": "It is twenty days."}])
    other = write(
        tmp_path / "other.jsonl", [{"prompt": "Who pays for trains?", "completion": "Travel does."}, {"a": 1}]
    )

    assert main(["check", str(rows), "--validation", str(one), "--validation", str(other)]) == 78

    shown = capsys.readouterr().out
    assert shown.startswith("27 rows: 26 can be used, 1 cannot\nheld out for the test: 2; ")
    assert f"[LeakedValidation] ({one}:1 and {rows}:1)" in shown
    assert f"[UnknownFormat] ({other}:2)" in shown


def test_a_file_that_is_trained_and_held_out_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write(tmp_path / "rows.jsonl", GOOD)

    assert main(["check", str(rows), "--validation", str(rows)]) == 78

    assert "is trained and held out" in capsys.readouterr().err


def test_pairs_are_checked_as_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "No idea."} for row in GOOD]
    rows = write(tmp_path / "pairs.jsonl", pairs)

    assert main(["check", str(rows), "--objective", "DPO"]) == 0
    assert main(["check", str(rows)]) == 78

    assert "[PreferenceUnexpected]" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "rows.jsonl")]) == 78

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "rows.jsonl" in shown.err
