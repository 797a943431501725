"""The table and the page of the benches: a missed target is never shown as met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report
from bench.report import Measure, page, table

Capture = pytest.CaptureFixture[str]

MET = Measure("quick", 10, "s", 60)
MISSED = Measure("slow", 61, "s", 60)
SHOWN = Measure("loop", 110, "s")


def test_a_bound_is_met_up_to_its_value() -> None:
    assert [measure.met for measure in (MET, MISSED, SHOWN, Measure("edge", 60, "s", 60))] == [True, False, True, True]


def test_a_bound_from_below_is_met_from_its_value_on() -> None:
    found = [Measure("speed", value, "x", least=5) for value in (4.9, 5)]
    assert [measure.met for measure in found] == [False, True]
    assert [line.split()[2:] for line in table(found).splitlines()[1:]] == [
        ["≥", "5", "x", "NO"],
        ["≥", "5", "x", "yes"],
    ]


def test_table_names_what_was_missed() -> None:
    lines = table([MET, MISSED, SHOWN]).splitlines()

    assert lines[1].split() == ["quick", "10.0", "≤", "60", "s", "yes"]
    assert lines[2].split() == ["slow", "61.0", "≤", "60", "s", "NO"]
    assert lines[3].split() == ["loop", "110.0", "s"]


def test_table_compares_with_the_last_record() -> None:
    lines = table([MET, SHOWN], {"quick": 12.34}).splitlines()

    assert lines[1].split() == ["quick", "10.0", "12.3", "≤", "60", "s", "yes"]
    assert lines[2].split() == ["loop", "110.0", "s"]


def test_finish_records_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")

    assert report.finish("x", "make bench-x", [MET], {"kopf": "1"})
    assert not report.finish("x", "make bench-x", [MET, MISSED], {"kopf": "1"})

    assert capsys.readouterr().out.splitlines()[-2].split() == ["quick", "10.0", "10.0", "≤", "60", "s", "yes"]
    record = json.loads((tmp_path / "x.json").read_text())
    assert [measure["met"] for measure in record["measures"]] == [True, False]
    assert "| slow | 61.0 s | ≤ 60 s | **no** |" in (tmp_path / "page.md").read_text()


def test_page_shows_machine_versions_and_misses() -> None:
    machine = {"processor": "P", "cores": "2", "memory": "24 GiB", "kernel": "6"}
    measures = [{"name": "slow", "measured": 61.0, "unit": "s", "target": 60, "met": False}]
    record = {
        "command": "make bench-demo",
        "date": "today",
        "machine": machine,
        "versions": {"torch": "2"},
        "measures": measures,
    }
    text = page([record])

    assert "## `make bench-demo`" in text
    assert "2 cores (P), 24 GiB, Linux 6; torch 2." in text
    assert "| slow | 61.0 s | ≤ 60 s | **no** |" in text
