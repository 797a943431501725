"""Runs of Weights & Biases: made from the spool, read back from their files, never a reason for publishing to fail."""

from __future__ import annotations

import json
import logging
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from support.stage_jobs import make_job
from vernacular_trainer.contract import WeightsAndBiasesConfig
from vernacular_trainer.tracking import weights_and_biases
from vernacular_trainer.tracking.spool import Point, Spool, spool_files
from vernacular_trainer.tracking.weights_and_biases import Replay, replay_of, write_run

OFFLINE = WeightsAndBiasesConfig("hr", "team")
_BLOCK = 1 << 15
POINTS = [
    Point("train/loss", 2.5, 1, 1000),
    Point("train/loss", 2.25, 2, 2000),
    Point("eval/loss", 3.0, 2, 2500),
    Point("train/loss", 1.5, 3, 3000),
]


def replay(tmp_path: Path, points: list[Point]) -> Replay:
    config, _ = make_job(tmp_path, tmp_path, (), weights_and_biases=OFFLINE)
    return replay_of(config, {"learningRate": "0.0002"}, points)


def records(data: bytes) -> Iterator[bytes]:
    """Of a log of blocks of 32 KiB, as in LevelDB: parts have check sum, length and kind (1 is whole, 4 last)."""
    position, parts = 7, b""
    while position < len(data):
        if (left := _BLOCK - position % _BLOCK) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def read(folder: Path) -> tuple[wandb_internal_pb2.RunRecord, dict[str, dict[int, float]]]:
    """The run and its curves, as `wandb sync` reads them."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, runs, curves = file.read_bytes(), [], defaultdict[str, dict[int, float]](dict)
    assert data.startswith(b":W&B")
    for record in map(wandb_internal_pb2.Record.FromString, records(data)):
        if record.WhichOneof("record_type") == "run":
            runs.append(record.run)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            curves[name][record.history.step.num] = json.loads(item.value_json)
    return runs[0], curves


def test_offline_files_have_the_same_names_and_steps_whatever_the_order(tmp_path: Path) -> None:
    made = replay(tmp_path, POINTS[::-1])

    assert write_run(made, OFFLINE, tmp_path / "wandb")
    assert write_run(made, OFFLINE, tmp_path / "wandb")

    run, curves = read(tmp_path / "wandb")
    assert (run.project, run.entity, run.run_id, run.display_name) == ("hr", "team", "uid-1", "demo/hr-bot")
    assert {item.key: item.value_json for item in run.config.update}["learningRate"] == '"0.0002"'
    assert curves["train/loss"] == {1: 2.5, 2: 2.25, 3: 1.5}
    assert curves["eval/loss"] == {2: 3.0}


def test_attempts_are_one_run(tmp_path: Path) -> None:
    for attempt, steps in ((1, range(1, 4)), (2, range(2, 6))):
        spool = Spool(tmp_path / "spool", attempt)
        for step in steps:
            spool.append(step, {"train/loss": float(step), "progress/attempt": float(attempt)})
        spool.close()

    points = [point for file in spool_files(tmp_path / "spool") for point in file.points()]

    assert [(step, values["progress/attempt"]) for step, values in replay(tmp_path, points).history] == [
        (1, 1.0),
        (2, 1.0),
        (3, 1.0),
        (4, 2.0),
        (5, 2.0),
    ]


def test_a_server_that_does_not_answer_is_given_up_and_the_files_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").mkdir()
    key = "canary" + "0" * 34
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        (tmp_path / "secret" / "WANDB_API_KEY").write_text(key)
        (tmp_path / "secret" / "WANDB_BASE_URL").write_text(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        wanted = WeightsAndBiasesConfig("hr", online=True, credentials_path=str(tmp_path / "secret"))
        with caplog.at_level(logging.WARNING):
            assert not write_run(replay(tmp_path, POINTS), wanted, tmp_path / "wandb", seconds=10)
        assert deaf.accept()

    assert read(tmp_path / "wandb")[1]["train/loss"] == {1: 2.5, 2: 2.25, 3: 1.5}
    assert "Weights & Biases has nothing of this job" in caplog.text
    texts = [path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [text for text in texts if key.encode() in text]
    assert key not in caplog.text


def test_an_image_without_the_library_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights_and_biases.sys, "executable", "/no/such/python")

    assert not write_run(replay(tmp_path, POINTS), OFFLINE, tmp_path / "wandb")
    assert "Weights & Biases has nothing of this job: FileNotFoundError" in caplog.text
