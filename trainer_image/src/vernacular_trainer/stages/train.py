"""The train stage: what one rank does, from joining the group to the result."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from vernacular_trainer.contract import JobConfig, Outcome, Phase, StageReport, TrainSummary, summary_to_dict
from vernacular_trainer.data.files import write_json
from vernacular_trainer.errors import Preempted
from vernacular_trainer.fitting import Situation, memory_of
from vernacular_trainer.heartbeat import LOADING, Heartbeat
from vernacular_trainer.memory import GIB, RowSizes
from vernacular_trainer.model.base import add_adapter, load_base
from vernacular_trainer.model_shape import read_shape
from vernacular_trainer.plan import ZERO_STAGES, ResolvedPlan
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.environment import environment
from vernacular_trainer.tracking.phases import PhaseReporter, reporting
from vernacular_trainer.tracking.shipper import open_sink
from vernacular_trainer.training import checkpoints
from vernacular_trainer.training.arguments import training_arguments, weights_dtype
from vernacular_trainer.training.metrics import LoggedSink, MetricSink, NoSink
from vernacular_trainer.training.packing import attend_packed
from vernacular_trainer.training.peak import peak_bytes
from vernacular_trainer.training.plan_file import load_plan
from vernacular_trainer.training.ranks import Ranks, join
from vernacular_trainer.training.rows import PairTable, RowTable, Table
from vernacular_trainer.training.stop import StopRequest
from vernacular_trainer.training.trainer import StageTrainer
from vernacular_trainer.workspace import Workspace

log = logging.getLogger(__name__)


def run(config: JobConfig, workspace: Workspace) -> TrainSummary:
    """Train to the goal and write the result.

    Raises Preempted with a checkpoint saved when this or any other rank is asked to stop, and StageError.
    """
    plan = load_plan(workspace.plan, config)
    if config.repair:
        checkpointing = "on" if plan.gradient_checkpointing else "off"
        log.info("repaired: %d rows at a time, gradient checkpointing %s", plan.micro_batch_size, checkpointing)
    ranks = join(config.compute, needs_group=plan.strategy in ZERO_STAGES)
    allowance = Allowance()
    with reporting(config, allowance, active=ranks.is_first) as phases:
        return _train(config, workspace, plan, ranks, phases, allowance)


def _train(
    config: JobConfig,
    workspace: Workspace,
    plan: ResolvedPlan,
    ranks: Ranks,
    phases: PhaseReporter,
    allowance: Allowance,
) -> TrainSummary:
    heartbeat = Heartbeat.of(os.environ)
    heartbeat.begin(LOADING)
    phases.enter(Phase.LOADING_MODEL)
    resumed = ranks.share(lambda: _find_checkpoint(workspace, config.attempt, plan))
    if resumed:
        resumed.require_shape(plan)
    attempt_folder = workspace.attempt(config.attempt)
    arguments = training_arguments(plan, attempt_folder / checkpoints.PARTIAL, ranks.device)
    if plan.strategy in ZERO_STAGES:
        _initialise_deepspeed(ranks)
    model = _load_model(plan, Path(config.model.path))
    stop = StopRequest()
    sink = LoggedSink(open_sink(config, workspace, allowance), plan.total_steps) if ranks.is_first else NoSink()
    with stop.listen():
        try:
            trainer = StageTrainer(
                model=model,
                args=arguments,
                plan=plan,
                ranks=ranks,
                train=_table(workspace.train_rows, plan),
                validation=_table(workspace.validation_rows, plan),
                workspace=workspace,
                base=config.model,
                heartbeat=heartbeat,
                attempt_folder=attempt_folder,
                stop=stop,
                sink=sink,
                enter=phases.enter,
                resumed=resumed,
            )
            trainer.run()
            if ranks.is_first and trainer.finished:
                _report_memory(sink, trainer, Path(config.model.path), ranks)
        finally:
            sink.close()
        summary = _summarise(trainer, resumed)
        if not trainer.finished:
            ranks.leave()
            raise _preempted(summary)
        phases.enter(Phase.SAVING, lambda: "the result")
        trainer.write_result(workspace.result)
        if ranks.is_first:
            write_json(workspace.training_report, summary_to_dict(summary))
            write_json(workspace.environment_report, environment([_name(ranks.device)] * ranks.world_size))
        ranks.leave()
    return summary


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _table(path: Path, plan: ResolvedPlan) -> Table:
    rows = RowTable.open(path)
    return PairTable(rows) if plan.compares else rows


def _report_memory(sink: MetricSink, trainer: StageTrainer, model: Path, ranks: Ranks) -> None:
    """What was predicted and what this rank used at its highest, in GiB, beside each other. Never raises."""
    table = trainer.train_rows.rows if isinstance(trainer.train_rows, PairTable) else trainer.train_rows
    try:
        sizes = RowSizes.of(zip(table.lengths.tolist(), table.supervised.tolist(), strict=True))
        predicted = memory_of(trainer.plan, Situation(read_shape(model), sizes), gpu=ranks.device.type == "cuda")
        metrics = {"memory/predicted_gib": predicted.total / GIB} if predicted else {}
        sink.log(trainer.progress.step, metrics | {"memory/peak_gib": peak_bytes(ranks.device) / GIB})
    except Exception:
        # the training is done: no measurement is worth its result
        log.exception("the memory of the training could not be told")


def _find_checkpoint(workspace: Workspace, attempt: int, plan: ResolvedPlan) -> checkpoints.Checkpoint | None:
    found = checkpoints.newest_complete(workspace.checkpoints, attempt, with_best=plan.keep == "Best")
    log.info("resuming from step %d", found.progress.step if found else 0)
    return found


def _initialise_deepspeed(ranks: Ranks) -> None:
    import deepspeed

    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    # on processors accelerate leaves this out, and ZeRO-3 would then split the model over one process
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)


def _load_model(plan: ResolvedPlan, path: Path) -> Any:
    model = load_base(path, weights_dtype(plan), quantized=plan.quantizes)
    if plan.packing and not attend_packed(model):
        log.warning("the model brings its own attention: rows are padded, not packed")
    set_seed(plan.seed)
    return add_adapter(model, plan) if plan.makes_adapter else model


def _summarise(trainer: StageTrainer, resumed: checkpoints.Checkpoint | None) -> TrainSummary:
    progress = trainer.progress
    best = trainer.finished and trainer.result_step == progress.best_step
    return TrainSummary(
        step=progress.step,
        total_steps=trainer.plan.total_steps,
        loss=_decimal(progress.loss),
        eval_loss=_decimal(progress.best_loss if best else progress.eval_loss),
        tokens=progress.tokens,
        training_seconds=round(progress.training_seconds),
        resumed_from_step=resumed.progress.step if resumed else 0,
        checkpoint_step=trainer.checkpoint_step,
        complete_checkpoints=trainer.completed,
        result_step=trainer.result_step if trainer.finished else 0,
        stopped_early=trainer.stopped_early,
    )


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _preempted(summary: TrainSummary) -> Preempted:
    saved = "checkpoint saved" if summary.checkpoint_step == summary.step > 0 else "before there was anything to save"
    return Preempted(
        StageReport(
            outcome=Outcome.PREEMPTED,
            message=f"stopped on request at step {summary.step} of {summary.total_steps}, {saved}",
            advice="nothing to do: the next attempt continues from there",
            summary=summary_to_dict(summary),
        )
    )
