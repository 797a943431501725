"""The places of all findings: none is lost, however many there are."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import DatasetConfig, FileSource
from vernacular_trainer.data.places import HEADER, Places, shortened
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.review import SAMPLES
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare


def lines(path: Path) -> list[tuple[str, ...]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        return [tuple(line) for line in csv.reader(stream)]


def test_every_place_is_in_the_file_and_few_in_the_summary(tmp_path: Path) -> None:
    problems = ProblemLog(Places(tmp_path))
    expected = [("Duplicate", f"a,b.jsonl:{n}", "a,b.jsonl:1") for n in range(2, 12_345)]
    for code, row, other in expected:
        problems.add(code, row, other=other)

    problems.places.save(tmp_path / "findings.csv.gz")

    assert lines(tmp_path / "findings.csv.gz") == [HEADER, *expected]
    (problem,) = problems.problems()
    assert problem.count == len(expected)
    assert problem.first_rows[0] == "a,b.jsonl:2 and a,b.jsonl:1"


def test_what_is_found_later_comes_behind_what_was_saved(tmp_path: Path) -> None:
    path, places = tmp_path / "findings.csv.gz", Places()
    places.add("WordedOnce", "a:1")
    places.save(path)
    places.add("WordedOnce", "a:2")
    places.save(path)

    assert [line[1] for line in lines(path)[1:]] == ["a:1", "a:2"]


def test_no_finding_leaves_no_file_of_an_earlier_attempt(tmp_path: Path) -> None:
    (tmp_path / "findings.csv.gz").write_bytes(b"old")

    Places().save(tmp_path / "findings.csv.gz")

    assert list(tmp_path.iterdir()) == []


def test_many_findings_take_little_memory(tmp_path: Path) -> None:
    places = Places(tmp_path)
    tracemalloc.start()
    try:
        for number in range(200_000):
            places.add("WordedOnce", f"s3://bucket/folder/train-{number % 7}.jsonl:{number}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * 2**20


@pytest.mark.parametrize("most", [1_000, 60_000])
def test_a_file_that_is_too_large_is_cut_and_says_so(tmp_path: Path, most: int) -> None:
    path, places = tmp_path / "findings.csv.gz", Places()
    for number in range(30_000):
        places.add("WordedOnce", f"train.jsonl:{number}")
    places.save(path)
    assert path.stat().st_size > most

    short = shortened(path, most)

    *kept, last = lines(short)
    assert short.name == "cut-findings.csv.gz"
    assert short.stat().st_size < most + 200
    left = 30_001 - len(kept)
    assert last == ("", f"and {left} more: reports/findings.csv.gz in the workspace has all", "")
    assert lines(path)[: len(kept)] == kept
    assert shortened(path, 10**6) == path


def test_pairs_beyond_the_samples_have_their_places(tmp_path: Path, tiny_model: Path) -> None:
    rows = [
        {"prompt": f"How many days of leave has office number {n} in {city}?", "completion": f"It has {days} days."}
        for n in range(SAMPLES + 5)
        for city in ("Prague",)
        for days in (n + 10, n + 90)
    ]
    path = write_lines(tmp_path / "train.jsonl", rows)
    config, workspace = make_job(tmp_path, tiny_model, path)

    summary = prepare.run(config, workspace)

    report = json.loads(workspace.data_report.read_text())
    found = lines(workspace.findings)[1:]
    counts = {problem.code: problem.count for problem in summary.problems}
    contradicting = [line for line in found if line[0] == "ContradictingNumbers"]
    assert len(contradicting) == counts["ContradictingNumbers"] > SAMPLES
    assert len([sample for sample in report["samples"] if sample["code"] == "ContradictingNumbers"]) == SAMPLES
    assert all(row and other for _, row, other in contradicting)
    assert len(found) == report["places"] == sum(counts.values())


def test_rows_that_end_the_job_have_their_places_too(tmp_path: Path, tiny_model: Path) -> None:
    rows = [*handbook_rows(20), *(["{"] * 12)]
    path = write_lines(tmp_path / "train.jsonl", rows)
    config, workspace = make_job(
        tmp_path, tiny_model, path, dataset=DatasetConfig((FileSource("train.jsonl", str(path)),))
    )

    with pytest.raises(StageError):
        prepare.run(config, workspace)

    broken = [line[1] for line in lines(workspace.findings) if line[0] == "BrokenJson"]
    assert broken == [f"train.jsonl:{number}" for number in range(21, 33)]
