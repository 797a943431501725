"""`python -m vernacular_trainer plan`: the plan of a job with its memory, anywhere, without torch."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from vernacular_trainer import planning
from vernacular_trainer.contract import JobConfig, ModelConfig, PlanValue, StageFailure
from vernacular_trainer.data.row_numbers import RowNumbers, row_numbers
from vernacular_trainer.data.table import read_rows
from vernacular_trainer.errors import StageError, refused
from vernacular_trainer.fitting import Situation
from vernacular_trainer.memory import GIB, Memory, RowSizes
from vernacular_trainer.model_shape import max_length, read_headers, shape_of
from vernacular_trainer.planning import DataFacts, Resolution
from vernacular_trainer.workspace import Workspace

# where the number of rows is not known, what differs between these is left open; memory is that of many rows, which is
# not less
_FEW_ROWS, _MANY_ROWS = 1_000, 1_000_000
_OPEN = "?"
_MEMORY = re.compile(r"([1-9]\d{0,3}) ?(GiB|Gi)?")


@dataclass(frozen=True)
class Shown:
    """The plan that was shown. `rows_unknown`: why it says nothing of the number of rows that are trained ("": it does,
    by the job or by its files).
    """

    resolution: Resolution
    rows_unknown: str = ""


@dataclass(frozen=True)
class _Known:
    """What is known of model and rows; `others`: the same with far fewer rows; None when it is known
    how many there are."""

    facts: DataFacts
    remark: str
    others: DataFacts | None = None
    unknown: str = ""


def show_plan(config: JobConfig, gpu_memory: str | None, model: Path | None, out: TextIO) -> Shown:
    """Write every setting with its reason, and the memory of a rank; return what was written. `gpu_memory` and `model`
    replace the job's own.

    Raises StageError (DoesNotFit after all was written, ArgumentRefused, ModelNotFound, ModelUnsupported,
    DatasetUnreadable).
    """
    if config.trainer:
        raise refused("the job has a trainer of its own, which makes its own plan", "remove spec.trainer to see ours")
    if model:
        config = replace(config, model=replace(config.model, path=str(model)))
    if gpu_memory:
        config = replace(config, compute=replace(config.compute, gpu_memory_gib=_gibibytes(gpu_memory, config)))
    known = _known(config)
    try:
        resolution = planning.resolve(config, known.facts)
    except StageError as error:
        if error.code is StageFailure.DOES_NOT_FIT:
            unlimited = replace(config, compute=replace(config.compute, gpu_memory_gib=0))
            _write(planning.resolve(unlimited, known.facts), unlimited, known, config.compute.gpu_memory_gib, out)
        raise
    _write(resolution, config, known, config.compute.gpu_memory_gib, out)
    return Shown(resolution, known.unknown if _depends_on_rows(resolution, config, known) else "")


def _known(config: JobConfig) -> _Known:
    settings = _read_model_config(config.model)
    limit = max_length(settings)
    shape = shape_of(settings, read_headers(Path(config.model.path)))
    if shape is None:
        advice = "give a decoder-only language model with hidden_size, num_hidden_layers and vocab_size in config.json"
        raise StageError(StageFailure.MODEL_UNSUPPORTED, f"{config.model.uri} does not tell its sizes", advice)
    workspace = Workspace(Path(config.workspace))
    if workspace.train_rows.is_file():
        rows = read_rows(workspace.train_rows)
        sizes = RowSizes.of((len(row.input_ids), row.trained) for row in rows)
        # of a pair both answers are rows of the table
        each = 2 if config.objective.compares else 1
        count, held_out = len(rows) // each, len(read_rows(workspace.validation_rows)) // each
        facts = DataFacts(count, held_out, sizes.lengths[0], limit, Situation(shape, sizes))
        return _Known(facts, f"{count} prepared rows")
    longest = config.training.max_sequence_length or min(planning.SEQUENCE_CAP, limit or planning.SEQUENCE_CAP)
    situation = Situation(shape, RowSizes.unknown(longest))
    assumed = f"assumed: {longest} tokens each, every one predicted"
    found = row_numbers(config.dataset)
    if isinstance(found, RowNumbers):
        facts = DataFacts(found.train, found.held_out, longest, limit, situation)
        return _Known(facts, f"{found.train} rows to train on, {found.held_out} held out, before the checks; {assumed}")
    many, few = (
        DataFacts(rows, rows * config.dataset.validation_split_percent // 100, longest, limit, situation)
        for rows in (_MANY_ROWS, _FEW_ROWS)
    )
    return _Known(many, f"{found}; {assumed}", few, found)


def _depends_on_rows(resolution: Resolution, config: JobConfig, known: _Known) -> bool:
    if known.others is None:
        return False
    plans = (resolution.plan, planning.resolve(config, known.others).plan)
    return len({plan.total_steps * plan.effective_batch_size for plan in plans}) > 1


def _settings(resolution: Resolution, config: JobConfig, known: _Known) -> list[PlanValue]:
    """Every setting but the memory; open is what would be another one with other rows."""
    values = [item for item in resolution.values if item.name != planning.MEMORY]
    if known.others is None:
        return values
    others = {item.name: item for item in planning.resolve(config, known.others).values}
    # the reason alone may tell the number of rows as well
    return [
        item if others.get(item.name) == item else PlanValue(item.name, _OPEN, "depends on how many rows there are")
        for item in values
    ]


def _read_model_config(model: ModelConfig) -> dict[str, Any]:
    path = Path(model.path) / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"the base model's {path} cannot be read ({type(error).__name__})"
        advice = "give a folder with its config.json by --model"
        raise StageError(StageFailure.MODEL_NOT_FOUND, message, advice) from None
    if not isinstance(settings, dict):
        raise StageError(StageFailure.MODEL_UNSUPPORTED, f"{path} is no JSON object", "give another folder by --model")
    return settings


def _gibibytes(text: str, config: JobConfig) -> int:
    if not config.compute.gpus_per_pod:
        raise refused("--gpu-memory is for jobs with GPUs, and compute.gpusPerPod is 0", "leave --gpu-memory out")
    if not (found := _MEMORY.fullmatch(text)):
        raise refused(f"--gpu-memory {text!r} is no size", "write it like 80GiB")
    return int(found.group(1))


def _write(resolution: Resolution, config: JobConfig, known: _Known, available: int, out: TextIO) -> None:
    open_steps = _depends_on_rows(resolution, config, known)
    summary = planning.summarise(resolution.plan, with_steps=not open_steps)
    out.write(f"{summary}\n{known.remark}\n\n")
    values = _settings(resolution, config, known)
    name_width = max(len(item.name) for item in values)
    value_width = max(len(item.value) for item in values)
    out.writelines(f"{item.name:<{name_width}}  {item.value:<{value_width}}  {item.reason}\n" for item in values)
    if resolution.memory:
        _write_memory(resolution.memory, available, out)


def _write_memory(memory: Memory, available: int, out: TextIO) -> None:
    out.write("\nmemory of one rank at its highest, GiB\n")
    out.writelines(f"  {name:<14}{size / GIB:>8.2f}\n" for name, size in dataclasses.asdict(memory).items())
    verdict = ""
    if available:
        verdict = f" of {available}: {'fits' if memory.total <= available * GIB else 'does not fit'}"
    out.write(f"  {'total':<14}{memory.total / GIB:>8.2f}{verdict}\n")
