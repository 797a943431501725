"""transformers.Trainer with our own data order, loss, evaluation and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vernacular_trainer.contract import ModelConfig, Phase, StageFailure
from vernacular_trainer.data.chat import own_template
from vernacular_trainer.errors import StageError
from vernacular_trainer.heartbeat import EVALUATION, FIRST_STEP, SAVING, STEP, Heartbeat
from vernacular_trainer.model.base import unwrapped
from vernacular_trainer.plan import ZERO_STAGES, ResolvedPlan
from vernacular_trainer.training import checkpoints
from vernacular_trainer.training.checkpoints import Checkpoint, Progress
from vernacular_trainer.training.loss import SupervisedLoss
from vernacular_trainer.training.metrics import MetricSink, Throughput, log_interval
from vernacular_trainer.training.order import StepOrder, micro_batches
from vernacular_trainer.training.packing import attend_packed, attends_packed, keeps_apart, settle
from vernacular_trainer.training.preferences import PreferenceLoss, Reference
from vernacular_trainer.training.ranks import Ranks
from vernacular_trainer.training.result import copy_result, write_result
from vernacular_trainer.training.rows import Batch, PairTable, Table
from vernacular_trainer.training.stop import StopRequest
from vernacular_trainer.workspace import Workspace


class StepBatches:
    """This rank's micro batches from `first_step` to the end, in the order of the steps. `table` is asked for when the
    first is made: before that, pairs have no reference.
    """

    def __init__(self, table: Callable[[], Table], plan: ResolvedPlan, ranks: Ranks, first_step: int) -> None:
        self._table = table
        self._plan = plan
        self._ranks = ranks
        self._first_step = first_step

    def __len__(self) -> int:
        return self._plan.total_steps * self._plan.accumulation

    def __iter__(self) -> Iterator[Batch]:
        table = self._table()
        lengths, ranks = table.lengths, self._ranks
        order = StepOrder(lengths, self._plan.effective_batch_size, self._plan.seed, by_length=not self._plan.packing)
        for step in range(self._first_step, self._plan.total_steps):
            rows = order.rows_of(step)
            sizes = lengths[rows].tolist()
            for piece in micro_batches(rows, sizes, ranks.rank, ranks.world_size, self._plan.accumulation):
                yield table.batch(piece)


class StageTrainer(Trainer):  # type: ignore[misc]
    """Trains exactly the rows that the plan names, with a loss that is the mean over all supervised tokens, or pairs,
    of a step, whatever the number of ranks and micro batches.
    """

    # our loss is divided by the tokens or pairs of the step, over all ranks and micro batches: the Trainer must not
    # divide again
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        plan: ResolvedPlan,
        ranks: Ranks,
        train: Table,
        validation: Table,
        workspace: Workspace,
        base: ModelConfig,
        heartbeat: Heartbeat,
        attempt_folder: Path,
        stop: StopRequest,
        sink: MetricSink,
        enter: Callable[[Phase], None],
        resumed: Checkpoint | None,
    ) -> None:
        super().__init__(model=model, args=args, callbacks=[_StepPolicy(self)])
        self.remove_callback(PrinterCallback)
        self.plan = plan
        self.ranks = ranks
        self.stop = stop
        self.validation = validation
        self.throughput = Throughput()
        self.completed = 0
        self.stopped_early = False
        self.checkpoint_step = resumed.progress.step if resumed else 0
        self.progress = resumed.progress if resumed else Progress(step=0)
        self._before = self.progress
        self._resumed = resumed
        self.train_rows = train
        self._base = base
        self._heartbeat = heartbeat
        self._step = FIRST_STEP
        self._attempt_folder = attempt_folder
        self._sink = sink
        self._enter = enter
        self._workspace = workspace
        self._loss = PreferenceLoss(model, plan.beta, ranks) if plan.compares else SupervisedLoss(model)
        self._finite = True

    def run(self) -> Progress:
        """Train to the goal or until all ranks agree to stop; how far it came. Raises StageError (NonFiniteLoss)."""
        with suppress(_EndedAtOnce):
            self.train(resume_from_checkpoint=str(self._resumed.path) if self._resumed else None)
        self._note()
        return self.progress

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train or to evaluate."""
        at_goal = self.progress.step >= self.plan.total_steps
        return self.stopped_early or (at_goal and not self.evaluation_due(self.progress.step))

    def evaluation_due(self, step: int) -> bool:
        """Whether this step is to be evaluated and has not been yet."""
        wanted = step >= self.plan.total_steps or (step > 0 and step % self.plan.evaluate_every_steps == 0)
        return wanted and len(self.validation) > 0 and self.progress.evaluated_step != step

    # data

    def get_train_dataloader(self) -> StepBatches:
        """Our own batches, already divided among the ranks."""
        return StepBatches(lambda: self.train_rows, self.plan, self.ranks, self._before.step)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], float]:
        """The micro batches of one step, and its number of supervised tokens, or pairs, over all ranks."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        weight, tokens = self.ranks.sum([sum(map(self._loss.weight, batches)), sum(batch.size for batch in batches)])
        self.throughput.add(int(tokens))
        return [_to_inputs(batch) for batch in batches], max(weight, 1.0)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: it walks over all parameters in every micro batch."""
        return 0

    # loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: float | None = None,
    ) -> torch.Tensor:
        """This rank's share of the step's mean loss, times the ranks over which gradients are averaged."""
        assert num_items_in_batch is not None
        self._heartbeat.begin(self._step)
        loss = self._loss(model, Batch(**inputs)) * (self.ranks.world_size / num_items_in_batch)
        self._finite = self._finite and bool(torch.isfinite(loss.detach()))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        # with loss scaling an overflowing gradient is ordinary: its step is skipped and the scale lowered
        if norm is not None and self.plan.precision != "FP16":
            self._finite = self._finite and math.isfinite(float(norm))
        return norm

    def stepped(self) -> None:
        """A step is done, and the next one takes no longer than any other."""
        self._step = STEP
        self._heartbeat.begin(STEP)

    def agree(self) -> bool:
        """Whether any rank was asked to stop. When the loss of any is not finite, StageError is raised on all."""
        stop, broken = self.ranks.any([self.stop.requested, not self._finite])
        if broken:
            raise StageError(
                StageFailure.NON_FINITE_LOSS,
                f"the loss or its gradient is not finite at step {self.state.global_step}; nothing of it was saved",
                "lower training.learningRate, or use precision FP32",
            )
        return stop

    # evaluation

    def make_up(self) -> None:
        """Evaluate a checkpoint whose evaluation was broken off, before its weights are gone."""
        if self.evaluation_due(self.state.global_step):
            self.evaluate()
            if self.stopped_early or self.evaluation_due(self.state.global_step):
                raise _EndedAtOnce

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss over the supervised tokens, or pairs, of all validation rows; broken off when a rank is asked to
        stop.
        """
        self._enter(Phase.EVALUATING)
        self.control.should_evaluate = False
        self.model_wrapped.eval()
        loss, count = 0.0, 0.0
        self._loss.measured()
        for batch in self._validation_batches():
            self._heartbeat.begin(EVALUATION)
            if self.ranks.any([self.stop.requested])[0]:
                self.control.should_save = self.control.should_training_stop = True
                return {}
            with torch.no_grad():
                loss += float(self._loss(self.model_wrapped, self._to_device(batch)))
            count += self._loss.weight(batch)
        total, weight = self.ranks.sum([loss, count])
        self._judge(total / max(weight, 1.0), self._loss.measured())
        self._resume()
        return {}

    def _judge(self, loss: float, measured: dict[str, float]) -> None:
        """Note the loss of an evaluation; keep the weights when it is the best, end when it has long been no better."""
        self._note()
        self.progress = self.progress.evaluated(loss, self.plan.min_delta)
        self._sink.log(self.state.global_step, {"eval/loss": loss, **_named("eval", measured)})
        if self.state.global_step >= self.plan.total_steps:
            return
        if self.plan.keep == "Best" and self.progress.best_step == self.state.global_step:
            self._keep_best()
        if self.plan.patience and self.progress.stale >= self.plan.patience:
            self.stopped_early = self.control.should_training_stop = True
            self.control.should_save = False

    def _keep_best(self) -> None:
        self._enter(Phase.SAVING)
        partial = self._begin_to_write()
        self._write_weights(partial / f"{checkpoints.BEST}-{self.state.global_step}")
        if self.ranks.is_first:
            checkpoints.complete(self._attempt_folder, self.progress, self.plan, checkpoints.BEST)
            checkpoints.retain_best(self._attempt_folder.parent, self._attempt, self.state.global_step)
        self.ranks.barrier()

    def _validation_batches(self) -> Iterator[Batch]:
        """This rank's batches; every rank gets the same number, since all compute together under ZeRO-3."""
        lengths = self.validation.lengths
        rows = sorted(range(len(lengths)), key=lambda row: -int(lengths[row]))
        size = self.plan.micro_batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        for start in range(0, len(batches), self.ranks.world_size):
            own = start + self.ranks.rank
            yield self.validation.batch(batches[own] if own < len(batches) else [])

    def _to_device(self, batch: Batch) -> Batch:
        return Batch(**self._prepare_inputs(_to_inputs(batch)))

    # measurements

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Pass on what belongs to a step; the Trainer's own summary at the end is left out."""
        self.control.should_log = False
        if "loss" not in logs:
            return
        self._note(loss=logs["loss"])
        metrics = {
            "train/loss": logs["loss"],
            "train/learning_rate": logs["learning_rate"],
            "train/tokens_per_second": self.throughput.lap(),
            "progress/step": float(self.state.global_step),
            "progress/total_steps": float(self.plan.total_steps),
            # a step of this curve is a restart
            "progress/attempt": float(self._attempt),
            **_named("train", self._loss.measured()),
        }
        if "grad_norm" in logs:
            metrics["train/grad_norm"] = logs["grad_norm"]
        self._sink.log(self.state.global_step, metrics)

    def _note(self, *, loss: float | None = None) -> None:
        self.progress = replace(
            self.progress,
            step=self.state.global_step,
            tokens=self._before.tokens + self.throughput.tokens,
            training_seconds=self._before.training_seconds + self.throughput.seconds,
            loss=self.progress.loss if loss is None else loss,
        )

    def lay_out(self) -> None:
        """Pack rows where the plan says so and the model computes them right on all ranks."""
        model, loss = unwrapped(self.model), self._loss.tokens
        if not attends_packed(model):
            settle(self.model_wrapped, model, loss, self._to_device)
            return
        apart = keeps_apart(self.model_wrapped, model, loss, self.plan.precision, self._to_device)
        packed = not self.ranks.any([not apart])[0]
        if packed:
            attend_packed(model)
        self.train_rows = self.train_rows.laid_out(packed=packed)
        self.validation = self.validation.laid_out(packed=packed)

    def refer(self) -> None:
        """Measure what the model makes of all pairs before it is trained, or read what was measured then."""
        if not isinstance(self._loss, PreferenceLoss):
            return
        reference = Reference(
            wrapped=self.model_wrapped,
            model=self.model,
            loss=self._loss,
            ranks=self.ranks,
            trained=self._before.step > 0,
            to_device=self._to_device,
            next_part=self._next_part,
        )
        self.train_rows = self._referred(reference, self.train_rows, self._workspace.train_rows)
        self.validation = self._referred(reference, self.validation, self._workspace.validation_rows)

    def _referred(self, reference: Reference, table: Table, path: Path) -> Table:
        assert isinstance(table, PairTable)
        return reference.attach(table, self._workspace.reference(path), self.plan.micro_batch_size)

    def _next_part(self) -> None:
        self._heartbeat.begin(EVALUATION)
        if self.ranks.any([self.stop.requested])[0]:
            raise _EndedAtOnce

    def begin(self) -> None:
        """The first step begins now."""
        self.throughput.start()
        self._enter(Phase.TRAINING)

    def _resume(self) -> None:
        self.throughput.pause()
        self._enter(Phase.TRAINING)

    # checkpoints

    def write_result(self, folder: Path) -> None:
        """Write the last step's weights or the best one's, as the plan says; all ranks call it."""
        self._heartbeat.begin(SAVING)
        if self.result_step == self.state.global_step:
            self._write_weights(folder)
        elif self.ranks.is_first:
            best = checkpoints.find_best(self._attempt_folder.parent, self._attempt, self.result_step)
            assert best is not None
            copy_result(best, self.plan, folder)
        self.ranks.barrier()

    def _write_weights(self, folder: Path) -> None:
        write_result(self, self.plan, self._base, folder, self.ranks, own_template(self._workspace))

    @property
    def result_step(self) -> int:
        """The step whose weights are the result when the training ends here."""
        best = self.progress.best_step if self.plan.keep == "Best" else 0
        return best or self.progress.step

    @property
    def _attempt(self) -> int:
        return int(self._attempt_folder.name.rpartition("-")[2])

    def _begin_to_write(self) -> Path:
        self._heartbeat.begin(SAVING)
        if self.ranks.is_first:
            checkpoints.begin(self._attempt_folder)
        self.ranks.barrier()
        return self._attempt_folder / checkpoints.PARTIAL

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._enter(Phase.SAVING)
        self._begin_to_write()
        super()._save_checkpoint(model, trial)
        self.ranks.barrier()
        self._note()
        if self.ranks.is_first:
            newest = checkpoints.complete(self._attempt_folder, self.progress, self.plan)
            checkpoints.retain(self._attempt_folder.parent, self._attempt, newest, self.plan.keep_checkpoints)
        self.completed += 1
        self.checkpoint_step = self.state.global_step
        saved = {
            "progress/checkpoint_step": float(self.checkpoint_step),
            "progress/checkpoint_seconds": round(self.progress.training_seconds, 1),
        }
        self._sink.log(self.state.global_step, saved)
        self.ranks.barrier()
        self._resume()


class _EndedAtOnce(Exception):  # noqa: N818 - no error
    """A training ends before its first step: all ranks were asked to stop, or it is no better for long."""


class _StepPolicy(TrainerCallback):  # type: ignore[misc]
    """Decides after each step, equally on all ranks, whether to log, evaluate, save or stop."""

    def __init__(self, trainer: StageTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        _check_wrapper(self._trainer)
        # equal weights on all ranks need one seed, dropout needs one for each; a resumed training restores its own
        # state after this
        torch.manual_seed(self._trainer.plan.seed + self._trainer.ranks.rank)
        self._trainer.lay_out()
        self._trainer.refer()
        self._trainer.begin()
        self._trainer.make_up()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        trainer, plan, step = self._trainer, self._trainer.plan, state.global_step
        trainer.stepped()
        stop = trainer.agree()
        last = step >= plan.total_steps
        control.should_log = stop or last or step == 1 or step % log_interval(plan.total_steps) == 0
        control.should_evaluate = not stop and trainer.evaluation_due(step)
        control.should_save = stop or (not last and step % plan.checkpoint_every_steps == 0)
        control.should_training_stop = stop or last
        return control


def _to_inputs(batch: Batch) -> dict[str, Any]:
    inputs = {item.name: getattr(batch, item.name) for item in fields(batch)}
    return {name: value for name, value in inputs.items() if value is not None}


def _named(prefix: str, measured: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in measured.items()}


def _check_wrapper(trainer: StageTrainer) -> None:
    """Launchers and libraries that are set up wrongly train in one process without a word: look what they made."""
    wrapped = trainer.model_wrapped
    if trainer.plan.strategy in ZERO_STAGES:
        from deepspeed import DeepSpeedEngine

        expected = isinstance(wrapped, DeepSpeedEngine)
    else:
        expected = isinstance(wrapped, DistributedDataParallel) == (trainer.ranks.world_size > 1)
    if not expected or trainer.args.world_size != trainer.ranks.world_size:
        raise StageError(
            StageFailure.WORLD_SIZE_MISMATCH,
            f"strategy {trainer.plan.strategy} over {trainer.ranks.world_size} processes came out as "
            f"{type(wrapped).__name__} over {trainer.args.world_size}",
            "report this with the versions in the image: the training libraries did not do what they were told",
        )
