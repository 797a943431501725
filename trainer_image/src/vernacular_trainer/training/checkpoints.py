"""Checkpoints on the shared volume: complete or not there at all.

    checkpoints/attempt-<n>/checkpoint-<step>/    complete; COMPLETE.json lists its files with their digests
    checkpoints/attempt-<n>/best-<step>/          complete; what would be the result if no later step were better
    checkpoints/attempt-<n>/.partial/             being written; worthless once its writer is gone

An attempt writes below its own folder alone, and resumes from the newest complete checkpoint of all attempts so far.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan

MARK = "COMPLETE.json"
PARTIAL = ".partial"
CHECKPOINT = "checkpoint"
BEST = "best"

_READ_BYTES = 1 << 20
# Optimizer shards and parameter names fit only a training of the same shape.
_SHAPE = (
    *("objective", "method", "strategy", "world_size", "precision", "optimizer", "offload"),
    *("lora_rank", "lora_target_modules"),
)

_DEFAULTS = {item.name: item.default for item in dataclasses.fields(ResolvedPlan)}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training had come when a checkpoint was taken.

    `evaluated_step` is the last evaluation, `best_step` the one with the lowest loss so far (0: none yet), `stale` the
    number of evaluations since the last one that lowered it by enough.
    """

    step: int
    tokens: int = 0
    training_seconds: float = 0.0
    loss: float | None = None
    eval_loss: float | None = None
    evaluated_step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    stale: int = 0

    def evaluated(self, loss: float, min_delta: float) -> Progress:
        """This progress after an evaluation at its step."""
        best = math.inf if self.best_loss is None else self.best_loss
        stale = 0 if loss < best - min_delta else self.stale + 1
        progress = dataclasses.replace(self, eval_loss=loss, evaluated_step=self.step, stale=stale)
        return dataclasses.replace(progress, best_step=self.step, best_loss=loss) if loss < best else progress


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    progress: Progress
    shape: dict[str, Any]

    def require_shape(self, plan: ResolvedPlan) -> None:
        """Raise StageError (CheckpointIncompatible) unless a training with this plan can go on from here."""
        for name, now in shape_of(plan).items():
            # one that was taken before the setting existed was taken with its default
            before = self.shape.get(name, _DEFAULTS.get(name))
            if before != now:
                raise StageError(
                    StageFailure.CHECKPOINT_INCOMPATIBLE,
                    f"the checkpoint of step {self.progress.step} has {name} {before}, the training has {now}",
                    "start a new job for changed settings; this one continues only with the settings it began with",
                )


def shape_of(plan: ResolvedPlan) -> dict[str, Any]:
    """What must be equal for a checkpoint to fit, as plain JSON data."""
    values = dataclasses.asdict(plan)
    shape: dict[str, Any] = json.loads(json.dumps({name: values[name] for name in _SHAPE}))
    return shape


def newest_complete(root: Path, attempt: int, *, with_best: bool = False) -> Checkpoint | None:
    """The checkpoint to resume from: the furthest complete one of the attempts up to `attempt`; None to start from
    step 0.

    One that is incomplete or damaged is passed over, and the log says so; `with_best`: so is one whose best step was
    not kept.
    """
    for path in _candidates(root, attempt):
        checkpoint = _verify(path)
        best = checkpoint.progress.best_step if checkpoint and with_best else 0
        if checkpoint and (not best or find_best(root, attempt, best)):
            return checkpoint
    return None


def find_best(root: Path, attempt: int, step: int) -> Path | None:
    """The folder in which an attempt up to `attempt` kept the weights of `step`, complete; None when none did."""
    for path in _candidates(root, attempt, BEST):
        if _number(path) == step and _verify(path):
            return path
    return None


def _candidates(root: Path, attempt: int, kind: str = CHECKPOINT) -> list[Path]:
    found = [
        (step, number, path)
        for number, folder in _attempt_folders(root)
        if number <= attempt
        for path in folder.glob(f"{kind}-*")
        if (step := _number(path)) is not None
    ]
    return [path for _, _, path in sorted(found, reverse=True)]


def _attempt_folders(root: Path) -> Iterator[tuple[int, Path]]:
    for folder in root.glob("attempt-*"):
        if (number := _number(folder)) is not None:
            yield number, folder


def _number(path: Path) -> int | None:
    text = path.name.rpartition("-")[2]
    return int(text) if text.isdecimal() else None


def _verify(path: Path) -> Checkpoint | None:
    try:
        progress, mark = _read_mark(path)
        for name, expected in mark["files"].items():
            if (path / name).stat().st_size != expected["size"] or _digest(path / name) != expected["sha256"]:
                raise ValueError(name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = path.relative_to(path.parent.parent)
        log.warning("checkpoint %s is incomplete or damaged (%s): passed over", where, type(error).__name__)
        return None
    return Checkpoint(path, progress, mark["shape"])


def _read_mark(path: Path) -> tuple[Progress, dict[str, Any]]:
    mark = json.loads((path / MARK).read_text(encoding="utf-8"))
    return Progress(**mark["progress"]), mark


def begin(attempt_folder: Path) -> Path:
    """The empty folder in which what comes next is to be written, as `checkpoint-<step>` or `best-<step>`."""
    partial = attempt_folder / PARTIAL
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def complete(attempt_folder: Path, progress: Progress, plan: ResolvedPlan, kind: str = CHECKPOINT) -> Checkpoint:
    """Turn what was written since begin() into a checkpoint: durable first, then visible under its name."""
    written = attempt_folder / PARTIAL / f"{kind}-{progress.step}"
    shape = shape_of(plan)
    mark = {"progress": dataclasses.asdict(progress), "shape": shape, "files": _seal(written)}
    (written / MARK).write_text(json.dumps(mark, indent=1), encoding="utf-8")
    sync(written / MARK)
    for folder in (written, *(item for item in written.rglob("*") if item.is_dir())):
        sync(folder)
    final = attempt_folder / written.name
    if final.exists():
        # left damaged by this attempt before it was interrupted: a complete one would have been resumed from
        shutil.rmtree(final)
    written.rename(final)
    written.parent.rmdir()
    sync(attempt_folder)
    return Checkpoint(final, progress, shape)


def _seal(folder: Path) -> dict[str, dict[str, Any]]:
    """Make every file durable and readable for all (safetensors writes 0600); sizes and digests by relative name."""
    files = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        path.chmod(0o644)
        sync(path)
        files[str(path.relative_to(folder))] = {"size": path.stat().st_size, "sha256": _digest(path)}
    return files


def retain(root: Path, attempt: int, newest: Checkpoint, keep: int) -> None:
    """Delete all but the `keep` furthest checkpoints and the best steps that they name, and what earlier attempts left
    unfinished; `newest` always stays.

    Call it only after `newest` is complete.
    """
    keepers = [newest.path]
    for path in _candidates(root, attempt):
        if path == newest.path or _step_is_kept(path, keepers, keep):
            continue
        shutil.rmtree(path, ignore_errors=True)
    retain_best(root, attempt, newest.progress.best_step)
    for number, folder in _attempt_folders(root):
        if number < attempt:
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def retain_best(root: Path, attempt: int, step: int) -> None:
    """Delete the kept weights of all steps but `step` and those that a checkpoint still names as its best."""
    named = {step}
    for path in _candidates(root, attempt):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            named.add(_read_mark(path)[0].best_step)
    for path in _candidates(root, attempt, BEST):
        if _number(path) not in named:
            shutil.rmtree(path, ignore_errors=True)


def _step_is_kept(path: Path, keepers: list[Path], keep: int) -> bool:
    if len(keepers) >= keep or not (path / MARK).exists():
        return False
    keepers.append(path)
    return True


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
