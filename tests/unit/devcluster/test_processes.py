"""Processes that outlive the driver: found again, stopped, never confused with others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.processes import Process, ProcessTable, alive, children, describe, started_at
from devcluster.shell import wait_until


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    made = ProcessTable(tmp_path / "processes", tmp_path / "log")
    yield made
    made.kill(made.all())


def test_a_started_process_is_found_again_and_logs_to_its_file(table: ProcessTable, tmp_path: Path) -> None:
    process = table.start("talker", ["sh", "-c", "echo hello; exec sleep 60"])
    again = ProcessTable(tmp_path / "processes", tmp_path / "log").get("talker")
    assert again == process
    assert alive(process)
    wait_until("output", lambda: table.log("talker").read_text() == "hello\n", timeout=10)


def test_stop_asks_first(table: ProcessTable) -> None:
    process = table.start(
        "polite", ["sh", "-c", "trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.05; done"]
    )
    wait_until("trap set", lambda: "ready" in table.log("polite").read_text(), timeout=10)
    table.stop([process], grace=10)
    assert "bye" in table.log("polite").read_text()
    assert table.all() == []


def test_stop_kills_what_does_not_listen(table: ProcessTable) -> None:
    process = table.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    wait_until("trap set", lambda: "ready" in table.log("deaf").read_text(), timeout=10)
    table.stop([process], grace=0.2)
    assert not alive(process)


def test_a_reused_pid_is_left_alone(table: ProcessTable) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        started = started_at(other.pid)
        assert started is not None
        table.record(Process("old", other.pid, started - 1))
        table.kill(table.all())
        assert other.poll() is None
        assert table.all() == []
    finally:
        other.kill()
        other.wait()


def test_a_process_that_waits_to_be_reaped_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    process = describe("gone", child.pid) or Process("gone", child.pid, 0)
    wait_until("zombie", lambda: not alive(process), timeout=10)
    child.wait()
    assert started_at(child.pid) is None


def test_children_are_found_even_with_odd_names(tmp_path: Path) -> None:
    odd = tmp_path / "a ) (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([odd, "60"])
    try:
        assert child.pid in children(os.getpid())
        assert started_at(child.pid) is not None
    finally:
        child.kill()
        child.wait()


def test_unknown_name_is_nothing(table: ProcessTable) -> None:
    assert table.get("nobody") is None
