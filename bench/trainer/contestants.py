"""One training of each trainer, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.environments import interpreter
from bench.trainer.workload import ROWS, Workload
from support.training import TrainingJob, plan
from vernacular_trainer.contract import Outcome

PEERS = Path(__file__).resolve().parent / "peers"
EFFECTIVE_BATCH = 8
# nothing may go out to a hub, nothing may be measured that is told to somebody
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Training:
    """`seconds` of the training loop alone, `memory` bytes resident at its highest, and the adapter."""

    seconds: float
    memory: int
    adapter: Path


Contestant = Callable[[Workload, Path], Training]


def ours(precision: str) -> Contestant:
    """The train stage as the container runs it."""

    def train(workload: Workload, folder: Path) -> Training:
        settings = plan(
            total_steps=ROWS // EFFECTIVE_BATCH,
            effective_batch_size=EFFECTIVE_BATCH,
            micro_batch_size=EFFECTIVE_BATCH,
            max_sequence_length=512,
            learning_rate=1e-3,
            scheduler="Linear",
            warmup_steps=0,
            lora_rank=8,
            lora_alpha=16,
            precision=precision,
            checkpoint_every_steps=10_000,
        )
        rows = [(row, row) for row in json.loads(workload.rows.read_text())]
        job = TrainingJob(folder, workload.model, settings).prepare(rows, [])
        running = job.start()
        memory = _wait(running.process.pid)
        finished = running.wait()
        assert finished.report.outcome is Outcome.DONE, finished.log
        return Training(finished.summary.training_seconds, memory, job.workspace.result / "adapter")

    return train


def peer(program: str, environment: str | None = None, *arguments: str, words: bool = False) -> Contestant:
    """A program of `peers/`; without an environment in that of this repository. `words`: it gets texts, not numbers."""

    def train(workload: Workload, folder: Path) -> Training:
        python = interpreter(environment) if environment else Path(sys.executable)
        rows = workload.texts if words else workload.rows
        command = [str(python), str(PEERS / program), str(workload.model), str(rows), str(folder / "out"), *arguments]
        folder.mkdir(parents=True)
        with tempfile.TemporaryFile() as output, (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=output, stderr=log, env=os.environ | _ENVIRONMENT, cwd=folder)
            memory = _wait(process.pid)
            output.seek(0)
            lines = output.read().decode().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise RuntimeError(f"{program} failed:\n{(folder / 'log').read_text()[-4000:]}")
        return Training(json.loads(lines[-1])["seconds"], memory, folder / "out")

    return train


def _wait(process: int) -> int:
    """Wait for a process; bytes resident at the highest, of it or of a process that it started."""
    _, _, usage = os.wait4(process, 0)
    return usage.ru_maxrss * 1024
