"""A workspace as prepare leaves it, and the train stage run on it as the container runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from vernacular_trainer.contract import (
    ComputeConfig,
    DatasetConfig,
    JobConfig,
    JobIdentity,
    ModelConfig,
    PublishConfig,
    RepairConfig,
    Stage,
    StageReport,
    TrackingConfig,
    TrainSummary,
)
from vernacular_trainer.plan import ResolvedPlan
from vernacular_trainer.workspace import Workspace

MODEL_URI = "pvc://models/tiny"


def ragged_rows(
    count: int, seed: int = 0, *, shortest: int = 8, longest: int = 60
) -> list[tuple[list[int], list[int]]]:
    """Rows of unequal length (tokens, labels); a random part at the end of each row is supervised."""
    random_source = random.Random(seed)
    rows = []
    for _ in range(count):
        length = random_source.randint(shortest, longest)
        tokens = [random_source.randrange(3, 500) for _ in range(length)]
        prompt = random_source.randrange(1, length - 1)
        rows.append((tokens, [-100] * prompt + tokens[prompt:]))
    return rows


def write_rows(path: Path, rows: list[tuple[list[int], list[int]]]) -> None:
    """An Arrow file in the layout of workspace.train_rows."""
    lists = pa.large_list(pa.int32())
    schema = pa.schema([("input_ids", lists), ("labels", lists), ("row", pa.string())])
    columns = [
        [tokens for tokens, _ in rows],
        [labels for _, labels in rows],
        [f"rows.jsonl:{n}" for n in range(len(rows))],
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table([pa.array(c, t.type) for c, t in zip(columns, schema, strict=True)], schema=schema))


def plan(**changes: Any) -> ResolvedPlan:
    """A short LoRA training without dropout in one process."""
    base = ResolvedPlan(
        method="LoRA",
        strategy="DDP",
        world_size=1,
        epochs=1,
        total_steps=6,
        learning_rate=1e-2,
        effective_batch_size=8,
        micro_batch_size=8,
        accumulation=1,
        max_sequence_length=64,
        precision="FP32",
        scheduler="Cosine",
        warmup_steps=1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=7,
        checkpoint_every_steps=100,
        evaluate_every_steps=100,
        keep_checkpoints=2,
        packing=True,
        lora_rank=4,
        lora_alpha=8,
        lora_dropout=0.0,
        lora_target_modules=("all-linear",),
    )
    if changes.get("method") == "Full":
        changes = {"lora_rank": 0, "lora_alpha": 0, "lora_target_modules": (), "learning_rate": 1e-3} | changes
    return dataclasses.replace(base, **changes)


@dataclass(frozen=True)
class Finished:
    """How a stage ended."""

    exit_code: int
    report: StageReport
    log: str

    @property
    def summary(self) -> TrainSummary:
        summary = self.report.typed_summary(Stage.TRAIN)
        assert isinstance(summary, TrainSummary), self.log
        return summary


@dataclass(frozen=True)
class TrainingJob:
    """One job's workspace; every attempt is a run of the container's command. `repairs` by attempt."""

    folder: Path
    model: Path
    plan: ResolvedPlan
    repairs: Mapping[int, RepairConfig] = field(default_factory=dict)
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(uri="", experiment="test"))

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    def prepare(self, train: list[Any] | None = None, validation: list[Any] | None = None) -> TrainingJob:
        """Write the rows and the plan."""
        write_rows(self.workspace.train_rows, ragged_rows(40) if train is None else train)
        write_rows(self.workspace.validation_rows, ragged_rows(5, seed=1) if validation is None else validation)
        self.workspace.plan.write_text(json.dumps(dataclasses.asdict(self.plan)))
        return self

    def config(self, attempt: int = 1, **compute: Any) -> JobConfig:
        """The job configuration of an attempt."""
        settings = {"pods": 1, "processes_per_pod": self.plan.world_size, "strategy": self.plan.strategy} | compute
        return JobConfig(
            stage=Stage.TRAIN,
            attempt=attempt,
            identity=JobIdentity("default", "job", "uid"),
            workspace=str(self.workspace.root),
            model=ModelConfig(MODEL_URI, str(self.model)),
            repair=self.repairs.get(attempt),
            dataset=DatasetConfig(train=()),
            tracking=self.tracking,
            publish=PublishConfig(registered_model="model"),
            compute=ComputeConfig(**settings),
            grace_period_seconds=60,
        )

    def start(self, attempt: int = 1, pod: int = 0, **compute: Any) -> RunningStage:
        """Start an attempt as the container of one pod does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / f"job-{attempt}-{pod}.json"
        config.write_text(self.config(attempt, **compute).to_json())
        report = self.folder / f"termination-{attempt}-{pod}.log"
        log = self.folder / f"attempt-{attempt}-{pod}.log"
        command = (sys.executable, "-m", "vernacular_trainer", "train", "--config", config, "--termination-log", report)
        environment = {"VERNACULAR_THREADS": "1"} | os.environ | {"JOB_COMPLETION_INDEX": str(pod)}
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        return RunningStage(process, report, log, self.workspace)

    def run(self, attempt: int = 1, **compute: Any) -> Finished:
        """Run an attempt to its end."""
        return self.start(attempt, **compute).wait()

    def metric(self, name: str) -> dict[int, float]:
        """A metric by step, over all attempts; the last attempt's value counts."""
        values: dict[int, float] = {}
        for path in sorted(self.workspace.spool.glob("attempt-*.jsonl")):
            for line in path.read_text().splitlines():
                point = json.loads(line)
                if name in point["metrics"]:
                    values[point["step"]] = point["metrics"][name]
        return values


@dataclass(frozen=True)
class RunningStage:
    """A stage that was started."""

    process: subprocess.Popen[bytes]
    report: Path
    log: Path
    workspace: Workspace

    def terminate_after_step(self, step: int, seconds: float = 240) -> None:
        """Send SIGTERM to the container's first process once the metrics show this step."""
        deadline = time.monotonic() + seconds
        while not self._reached(step):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.process.send_signal(signal.SIGTERM)

    def _reached(self, step: int) -> bool:
        files = self.workspace.spool.glob("attempt-*.jsonl")
        return any(json.loads(line)["step"] >= step for file in files for line in file.read_text().splitlines())

    def wait(self, seconds: float = 300) -> Finished:
        """Wait for the end; the report must be there, whatever happened."""
        exit_code = self.process.wait(seconds)
        log = self.log.read_text()
        assert self.report.exists(), log
        return Finished(exit_code, StageReport.from_json(self.report.read_text()), log)
