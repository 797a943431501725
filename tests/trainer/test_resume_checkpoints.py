"""Checkpoints as files: complete or not there."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from support.training import plan
from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.training.checkpoints import (
    BEST,
    MARK,
    Checkpoint,
    Progress,
    begin,
    complete,
    find_best,
    newest_complete,
    retain,
    retain_best,
)


def write(root: Path, attempt: int, step: int, best_step: int = 0) -> Checkpoint:
    folder = root / f"attempt-{attempt}"
    written = begin(folder) / f"checkpoint-{step}"
    (written / "shards").mkdir(parents=True)
    (written / "adapter.safetensors").write_bytes(b"weights" * step)
    (written / "adapter.safetensors").chmod(0o600)
    (written / "shards" / "optimizer.pt").write_bytes(b"state")
    return complete(folder, Progress(step, tokens=step * 100, loss=1.5, best_step=best_step), plan())


def keep_best(root: Path, attempt: int, step: int) -> Path:
    folder = root / f"attempt-{attempt}"
    written = begin(folder) / f"{BEST}-{step}"
    written.mkdir()
    (written / "adapter.safetensors").write_bytes(b"weights" * step)
    return complete(folder, Progress(step, best_step=step, best_loss=1.0), plan(), BEST).path


def newest_step(root: Path, attempt: int) -> int | None:
    found = newest_complete(root, attempt)
    return found.progress.step if found else None


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    assert newest_complete(tmp_path / "checkpoints", 1) is None


def test_a_complete_checkpoint_is_found_with_its_progress(tmp_path: Path) -> None:
    written = write(tmp_path, 1, 10)
    found = newest_complete(tmp_path, 2)
    assert found == written
    assert found is not None
    assert found.progress == Progress(10, tokens=1000, loss=1.5)
    assert stat.S_IMODE((found.path / "adapter.safetensors").stat().st_mode) == 0o644
    assert [path.name for path in (tmp_path / "attempt-1").iterdir()] == ["checkpoint-10"]


def test_the_furthest_of_earlier_attempts_and_this_one_counts(tmp_path: Path) -> None:
    for attempt, step in ((1, 10), (1, 20), (2, 30), (3, 40)):
        write(tmp_path, attempt, step)
    assert [newest_step(tmp_path, attempt) for attempt in (1, 2, 3)] == [20, 30, 40]


def test_what_is_being_written_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 1, 10)
    half = begin(tmp_path / "attempt-1") / "checkpoint-20"
    half.mkdir()
    (half / "adapter.safetensors").write_bytes(b"half")
    assert newest_step(tmp_path, 2) == 10


@pytest.mark.parametrize("damage", ["unmarked", "mark cut", "file cut", "file changed", "file missing", "mark strange"])
def test_a_damaged_one_is_passed_over_and_reported(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, 10)
    bad = write(tmp_path, 1, 20).path
    weights = bad / "adapter.safetensors"
    match damage:
        case "unmarked":
            (bad / MARK).unlink()
        case "mark cut":
            (bad / MARK).write_text((bad / MARK).read_text()[:50])
        case "mark strange":
            (bad / MARK).write_text(json.dumps({"files": {}}))
        case "file cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "file changed":
            weights.write_bytes(b"x" + weights.read_bytes()[1:])
        case "file missing":
            weights.unlink()
    assert newest_step(tmp_path, 2) == 10
    assert "attempt-1/checkpoint-20 is incomplete or damaged" in caplog.text


def test_all_damaged_means_from_the_start(tmp_path: Path) -> None:
    for step in (10, 20):
        (write(tmp_path, 1, step).path / MARK).unlink()
    assert newest_complete(tmp_path, 2) is None


def test_a_damaged_one_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    (write(tmp_path, 1, 10).path / MARK).unlink()
    write(tmp_path, 1, 10)
    assert newest_step(tmp_path, 1) == 10


def test_retention_keeps_the_furthest(tmp_path: Path) -> None:
    for attempt, step in ((1, 10), (1, 20), (2, 30)):
        newest = write(tmp_path, attempt, step)
    begin(tmp_path / "attempt-1")
    retain(tmp_path, 2, newest, keep=2)
    assert {path.name for path in tmp_path.glob("*/*")} == {"checkpoint-20", "checkpoint-30"}
    retain(tmp_path, 2, newest, keep=1)
    assert {path.name for path in tmp_path.rglob("*-*")} == {"attempt-2", "checkpoint-30"}


def test_retention_keeps_the_best_steps_that_checkpoints_name(tmp_path: Path) -> None:
    keep_best(tmp_path, 1, 5)
    write(tmp_path, 1, 10, best_step=5)
    keep_best(tmp_path, 1, 15)
    keep_best(tmp_path, 2, 25)
    retain_best(tmp_path, 2, 25)
    assert {path.name for path in tmp_path.glob("*/best-*")} == {"best-5", "best-25"}
    newest = write(tmp_path, 2, 30, best_step=25)
    retain(tmp_path, 2, newest, keep=2)
    assert {path.name for path in tmp_path.glob("*/*")} == {"best-5", "checkpoint-10", "best-25", "checkpoint-30"}
    retain(tmp_path, 2, newest, keep=1)
    assert {path.name for path in tmp_path.glob("*/*")} == {"best-25", "checkpoint-30"}


def test_a_checkpoint_whose_best_step_is_gone_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 1, 10)
    best = keep_best(tmp_path, 1, 15)
    newest = write(tmp_path, 1, 20, best_step=15)
    assert newest_complete(tmp_path, 2, with_best=True) == newest
    assert find_best(tmp_path, 2, 15) == best
    (best / "adapter.safetensors").write_bytes(b"cut")
    found = newest_complete(tmp_path, 2, with_best=True)
    assert found is not None
    assert found.progress.step == 10
    assert newest_complete(tmp_path, 2) == newest


def test_the_best_evaluation_and_the_ones_that_were_no_better() -> None:
    progress = Progress(10).evaluated(2.0, 0.1)
    assert (progress.best_step, progress.best_loss, progress.stale) == (10, 2.0, 0)
    slightly = replace(progress, step=20).evaluated(1.95, 0.1)
    assert (slightly.best_step, slightly.best_loss, slightly.stale) == (20, 1.95, 1)
    worse = replace(slightly, step=30).evaluated(float("nan"), 0.1)
    assert (worse.best_step, worse.stale) == (20, 2)
    assert replace(worse, step=40).evaluated(1.8, 0.1).stale == 0


def test_retention_leaves_later_attempts_alone(tmp_path: Path) -> None:
    newest = write(tmp_path, 1, 10)
    write(tmp_path, 2, 5)
    begin(tmp_path / "attempt-2")
    retain(tmp_path, 1, newest, keep=1)
    assert {path.name for path in tmp_path.glob("*/*")} == {"checkpoint-10", "checkpoint-5", ".partial"}


def test_a_checkpoint_from_before_a_setting_existed_was_taken_with_its_default(tmp_path: Path) -> None:
    written = write(tmp_path, 1, 10)
    mark = json.loads((written.path / MARK).read_text())
    del mark["shape"]["optimizer"], mark["shape"]["offload"]
    (written.path / MARK).write_text(json.dumps(mark))
    found = newest_complete(tmp_path, 2)
    assert found is not None
    found.require_shape(plan())
    with pytest.raises(StageError, match="has optimizer AdamW, the training has AdamW8bit"):
        found.require_shape(plan(optimizer="AdamW8bit"))


@pytest.mark.parametrize(
    "changes",
    [{"world_size": 2}, {"strategy": "ZeRO2"}, {"method": "Full"}, {"precision": "BF16"}, {"lora_rank": 8}],
)
def test_a_training_of_another_shape_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    checkpoint = write(tmp_path, 1, 10)
    checkpoint.require_shape(plan(total_steps=99))
    with pytest.raises(StageError) as caught:
        checkpoint.require_shape(plan(**changes))
    assert caught.value.code is StageFailure.CHECKPOINT_INCOMPATIBLE
    assert "new job" in caught.value.advice
