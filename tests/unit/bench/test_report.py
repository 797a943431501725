"""The table and the page of the benches: a missed target is never shown as met."""

from __future__ import annotations

from bench.report import Measure, page, table

MET = Measure("quick", 10, "s", 60)
MISSED = Measure("slow", 61, "s", 60)
SHOWN = Measure("loop", 110, "s")


def test_a_bound_is_met_up_to_its_value() -> None:
    assert [measure.met for measure in (MET, MISSED, SHOWN, Measure("edge", 60, "s", 60))] == [True, False, True, True]


def test_table_names_what_was_missed() -> None:
    lines = table([MET, MISSED, SHOWN]).splitlines()

    assert lines[1].split() == ["quick", "10.0", "60", "s", "yes"]
    assert lines[2].split() == ["slow", "61.0", "60", "s", "NO"]
    assert lines[3].split() == ["loop", "110.0", "s"]


def test_page_shows_machine_versions_and_misses() -> None:
    machine = {"processor": "P", "cores": "2", "memory": "24 GiB", "kernel": "6"}
    measures = [{"name": "slow", "measured": 61.0, "unit": "s", "target": 60, "met": False}]
    record = {"bench": "demo", "date": "today", "machine": machine, "versions": {"torch": "2"}, "measures": measures}
    text = page([record])

    assert "## `make bench-demo`" in text
    assert "2 cores (P), 24 GiB, Linux 6; torch 2." in text
    assert "| slow | 61.0 s | ≤ 60 s | **no** |" in text
