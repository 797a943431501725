"""The spool on disk: nothing lost, nothing twice, and a training that never notices."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.shipper import Shipper, SpoolSink, ship
from vernacular_trainer.tracking.spool import MAX_POINTS_PER_REQUEST, Point, Spool, spool_files, unsent_batches

WAIT_SECONDS = 60.0


def spool(folder: Path, attempt: int = 1) -> Spool:
    return Spool(folder, attempt, clock=lambda: 1000.0 + attempt)


def sent_by(folder: Path) -> list[Point]:
    points: list[Point] = []
    ship(folder, points.extend)
    return points


def test_points_arrive_once_and_in_order(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"train/loss": 2.5})
    first = sent_by(tmp_path)
    metrics.append(2, {"train/loss": 2.25, "eval/loss": 3.0})

    assert first == [Point("train/loss", 2.5, 1, 1001000)]
    assert sent_by(tmp_path) == [Point("train/loss", 2.25, 2, 1001000), Point("eval/loss", 3.0, 2, 1001000)]
    assert sent_by(tmp_path) == []
    metrics.close()


def test_what_was_not_confirmed_is_sent_again(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"train/loss": 2.5})

    def fail(points: tuple[Point, ...]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ship(tmp_path, fail)

    assert len(sent_by(tmp_path)) == 1
    metrics.close()


def test_two_senders_of_one_spool_do_not_break_each_other(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"train/loss": 2.5})
    [file] = spool_files(tmp_path)
    with ThreadPoolExecutor(4) as senders:
        list(senders.map(file.confirm, range(200)))

    assert file.sent() in range(200)
    assert {path.name for path in tmp_path.iterdir()} == {"attempt-1.jsonl", "attempt-1.sent"}
    metrics.close()


def test_requests_are_few_and_of_limited_size(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    for step in range(900):
        metrics.append(step, {"a": step, "b": step, "c": step})

    sizes = [len(batch.points) for batch in unsent_batches(tmp_path)]

    assert sum(sizes) == 2700
    assert len(sizes) == 3
    assert max(sizes) <= MAX_POINTS_PER_REQUEST
    metrics.close()


def test_a_later_attempt_sends_the_rest_and_does_not_repeat_steps(tmp_path: Path) -> None:
    first = spool(tmp_path, 1)
    for step in range(1, 11):
        first.append(step, {"train/loss": step})
    first.close()

    second = spool(tmp_path, 2)
    for step in range(8, 13):
        second.append(step, {"train/loss": step})
    second.append(10, {"eval/loss": 1.0})
    second.close()

    points = sent_by(tmp_path)
    assert [point.step for point in points if point.key == "train/loss"] == list(range(1, 13))
    assert [point.timestamp for point in points][-1] == 1002000
    assert len(points) == 13
    assert [file.path.name for file in spool_files(tmp_path)] == ["attempt-1.jsonl", "attempt-2.jsonl"]


def test_attempts_are_ordered_by_number(tmp_path: Path) -> None:
    for attempt in (10, 9, 2):
        spool(tmp_path, attempt).close()

    assert [file.path.stem for file in spool_files(tmp_path)] == ["attempt-2", "attempt-9", "attempt-10"]


def test_a_line_torn_by_a_crash_harms_nobody(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"a": 1.0})
    metrics.close()
    with (tmp_path / "attempt-1.jsonl").open("a") as file:
        file.write('{"step": 2, "timest')

    assert [point.step for point in sent_by(tmp_path)] == [1]
    again = spool(tmp_path)
    again.append(3, {"a": 3.0})
    again.close()
    assert [point.step for point in sent_by(tmp_path)] == [3]
    assert sent_by(tmp_path) == []


def test_a_lost_offset_only_sends_again(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"a": 1.0})
    metrics.close()
    sent_by(tmp_path)
    (tmp_path / "attempt-1.sent").write_text("")

    assert len(sent_by(tmp_path)) == 1


class Receiver:
    """Takes points, or fails while `failing`; `wait_for` waits until a condition on itself holds."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.failures = 0
        self.failing = False
        self._changed = threading.Condition()

    def send(self, points: tuple[Point, ...]) -> None:
        with self._changed:
            self._changed.notify_all()
            if self.failing:
                self.failures += 1
                raise ConnectionError
            self.points.extend(points)

    def wait_for(self, condition: Callable[[Receiver], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), WAIT_SECONDS)


def sink_to(folder: Path, receiver: Receiver) -> SpoolSink:
    metrics = spool(folder)
    return SpoolSink(
        metrics, Shipper(metrics, folder, lambda: receiver.send, Allowance(6000), interval=0.01, longest_pause=0.05)
    )


def test_a_training_ships_while_it_goes_on_and_survives_an_outage(tmp_path: Path) -> None:
    receiver = Receiver()
    sink = sink_to(tmp_path, receiver)
    sink.log(1, {"a": 1.0})
    receiver.wait_for(lambda r: len(r.points) == 1)
    receiver.failing = True
    sink.log(2, {"a": 2.0})
    receiver.wait_for(lambda r: r.failures >= 3)
    receiver.failing = False
    receiver.wait_for(lambda r: len(r.points) == 2)
    sink.log(3, {"a": 3.0})

    sink.close()

    assert [point.step for point in receiver.points] == [1, 2, 3]


def test_closing_with_the_server_away_keeps_everything_for_later(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.failing = True
    sink = sink_to(tmp_path, receiver)
    sink.log(1, {"a": 1.0})

    sink.close()

    assert receiver.points == []
    assert len(sent_by(tmp_path)) == 1


def test_closing_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    release = threading.Event()

    def hang(points: tuple[Point, ...]) -> None:
        release.wait(WAIT_SECONDS)

    metrics = spool(tmp_path)
    sink = SpoolSink(
        metrics, Shipper(metrics, tmp_path, lambda: hang, Allowance(6000), interval=0.01), close_seconds=0.1
    )
    sink.log(1, {"a": 1.0})

    sink.close()

    assert not release.is_set()
    release.set()


def test_a_full_disk_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = SpoolSink(spool(tmp_path), None)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vernacular_trainer.tracking.spool.os.write", full)
        sink.log(1, {"a": 1.0})
        sink.log(2, {"a": 2.0})
    sink.log(3, {"a": 3.0})
    sink.close()

    assert [point.step for point in sent_by(tmp_path)] == [1, 2, 3]
    assert [record.message for record in caplog.records] == [
        "metrics wait until they can be written to the spool: No space left on device"
    ]


_FILLING = """
import resource, signal, sys
from pathlib import Path
from vernacular_trainer.tracking.shipper import SpoolSink
from vernacular_trainer.tracking.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = SpoolSink(Spool(Path(sys.argv[1]), 1, lambda: 1.0), None)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
for step in range(1, 101):
    sink.log(step, {"train/loss": step / 8})
if sys.argv[2] == "room":
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
sink.close()
"""


@pytest.mark.parametrize(("end", "arrived"), [("room", 100), ("full", None)])
def test_a_disk_that_takes_half_a_line_loses_nothing_once_there_is_room(
    tmp_path: Path, end: str, arrived: int | None
) -> None:
    """The kernel refuses what goes over a limit of the file's size, in the middle of a line, as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLING, str(tmp_path), end], capture_output=True, text=True, timeout=60, check=True
    )

    steps = [point.step for point in sent_by(tmp_path)]
    if arrived:
        assert steps == list(range(1, arrived + 1))
        assert "are lost" not in done.stderr
    else:
        assert steps == list(range(1, len(steps) + 1))
        assert f"{100 - len(steps)} lines of metrics are lost" in done.stderr


def test_what_waits_for_a_full_disk_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    metrics = spool(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("vernacular_trainer.tracking.spool.os.write", full)
        patched.setattr("vernacular_trainer.tracking.spool.MOST_WAITING", 3)
        for step in range(5):
            with pytest.raises(OSError, match="No space left"):
                metrics.append(step, {"a": 1.0})
        assert metrics.waiting == 3
    metrics.close()

    assert [point.step for point in sent_by(tmp_path)] == [0, 1, 2]


def test_a_job_asks_the_server_four_times_a_minute(tmp_path: Path) -> None:
    now = 0.0
    allowance = Allowance(clock=lambda: now)
    metrics, requests = spool(tmp_path), 0

    def count(points: tuple[Point, ...]) -> None:
        nonlocal requests
        requests += 1

    for step in range(12 * 60):
        metrics.append(step, {"a": 1.0})
        now += 5
        ship(tmp_path, count, allowance.take)

    # a few early ones, then four in each of the 60 minutes
    assert 4 * 60 <= requests <= 4 + 4 * 60
    metrics.close()


def test_nothing_to_send_needs_no_request(tmp_path: Path) -> None:
    allowance = Allowance(1)
    spool(tmp_path).close()

    assert [ship(tmp_path, lambda points: None, allowance.take) for _ in range(3)] == [0, 0, 0]
    assert allowance.take()


def test_lines_are_plain_json(tmp_path: Path) -> None:
    metrics = spool(tmp_path)
    metrics.append(1, {"a": 1})
    metrics.close()

    line = json.loads((tmp_path / "attempt-1.jsonl").read_text())

    assert line == {"step": 1, "timestamp": 1001000, "metrics": {"a": 1.0}}
