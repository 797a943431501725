"""The bench of the data: its rows, its budgets and its fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.data.__main__ import FULL, growth, rows_of
from bench.data.measure import measure
from bench.data.rows import write_rows

FAST = {"parse": 20.0, "checks": 90.0, "near": 40.0, "split": 9.0, "peak": 1.9}


def test_rows_are_chat_rows_of_about_a_kilobyte_and_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, 300)

    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert 800 < len(data) / 300 < 1200
    assert [turn["role"] for turn in json.loads(data.splitlines()[0])["messages"]] == ["user", "assistant"]


def test_every_step_is_measured(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 300)

    found = measure(tmp_path / "train.jsonl", 1)

    assert set(found) == set(FAST)
    assert 0 < found["peak"] < 4


def test_budgets_are_for_a_million_rows_and_their_rate_for_fewer() -> None:
    full = rows_of({FULL: FAST})
    fewer = rows_of({FULL // 10: FAST})

    assert all(item.met for item in full)
    assert [item.target for item in full if item.target] == [120, 240, 2]
    assert [item.met for item in fewer if item.target] == [False, False, True]


def test_growth_is_fitted_between_the_ends() -> None:
    ten = {step: value * 10 for step, value in FAST.items()}

    assert growth({1000: FAST, 10_000: ten}) == pytest.approx(1)
    assert not rows_of({1000: FAST, 10_000: {step: value * 20 for step, value in FAST.items()}})[-1].met
