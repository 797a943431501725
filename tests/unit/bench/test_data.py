"""The bench of the data: its rows, its budgets and its fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.data.__main__ import FULL, PEERS, growth, rows_of
from bench.data.measure import measure
from bench.data.memory import Watch
from bench.data.rows import write_rows
from bench.data.tokens import build_tokenizer

FAST = {
    "parse": 20.0,
    "checks": 90.0,
    "near": 40.0,
    "split": 9.0,
    "start": 3.0,
    "tokenise": 20.0,
    "tokens": 1000.0,
    "peak": 1.9,
}
PEER = {"bare": {"seconds": 19.0, "tokens": 1000.0}, "datasets": {"load": 9.0, "seconds": 50.0, "tokens": 1000.0}}


def test_rows_are_chat_rows_of_about_a_kilobyte_and_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, 300)

    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert 800 < len(data) / 300 < 1200
    assert [turn["role"] for turn in json.loads(data.splitlines()[0])["messages"]] == ["user", "assistant"]


def test_every_step_is_measured_and_the_library_alone_makes_the_same_tokens(tmp_path: Path) -> None:
    rows, folder = tmp_path / "train.jsonl", tmp_path / "tokenizer"
    write_rows(rows, 300)
    build_tokenizer(rows, folder)

    found = measure(rows, folder, 200, 1)
    command = [sys.executable, str(PEERS / "bare.py"), str(rows), str(folder), "200"]
    bare = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    assert set(found) == set(FAST)
    assert 0 < found["peak"] < 4
    assert set(bare) == set(PEER["bare"])
    assert bare["tokens"] == found["tokens"] > 200 * 100


def test_memory_is_that_of_children_too() -> None:
    program = "import sys; block = bytearray(b'1' * (300 << 20)); print(flush=True); sys.stdin.read()"
    with Watch() as alone:
        pass

    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    with Watch() as both:
        pass
    child.communicate()

    assert both.peak > alone.peak + 0.25


def test_budgets_are_for_a_million_rows_and_their_rate_for_fewer() -> None:
    full = rows_of({FULL: FAST}, PEER)
    fewer = rows_of({FULL // 10: FAST}, PEER)

    assert all(item.met for item in full)
    assert [item.target for item in full if item.target] == [120, 240, 2]
    assert [item.met for item in fewer if item.target] == [False, False, True]


def test_tokenising_is_held_to_the_speed_of_the_library_alone() -> None:
    slow = rows_of({FULL: FAST | {"tokenise": 22.0}}, PEER)

    assert [round(item.measured) for item in slow if item.least] == [86]
    assert not all(item.met for item in slow)


def test_growth_is_fitted_between_the_ends() -> None:
    ten = {step: value * 10 for step, value in FAST.items()}

    assert growth({1000: FAST, 10_000: ten}) == pytest.approx(1)
    slower = {step: value * 20 for step, value in FAST.items()}
    assert not rows_of({1000: FAST, 10_000: slower}, PEER)[-1].met
