"""Training ranks forked from a server that has imported the libraries once: a group starts in a second, not in twenty.

Each rank runs the worker's own main function, as under torchrun. The supervisor and torchrun have tests of their own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from support.training import Finished, TrainingJob
from vernacular_trainer.outcomes import Ending, OutcomeFolder, judge

PRELOADED = ["vernacular_trainer.stages.train", "vernacular_trainer.worker", "deepspeed"]


def rank_server() -> ForkServerContext:
    """The server; it starts with the first group and ends with this process."""
    # DeepSpeed calls ninja, which lives beside the interpreter
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@dataclass(frozen=True)
class RankGroup:
    """The running ranks of one attempt."""

    job: TrainingJob
    attempt: int
    processes: tuple[BaseProcess, ...]
    outcomes: OutcomeFolder
    log: Path

    def terminate_after_step(self, rank: int, step: int, seconds: float = 120) -> None:
        """Send SIGTERM to one rank once the metrics show this step."""
        deadline = time.monotonic() + seconds
        while max(self.job.metric("progress/step"), default=0) < step:
            assert self.processes[rank].is_alive(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)

    def wait(self, seconds: float = 240) -> Finished:
        """Wait for all ranks; their common outcome."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0.1))
        stuck = [process for process in self.processes if process.is_alive()]
        for process in stuck:
            process.kill()
        log = self.log.read_text()
        assert not stuck, f"{len(stuck)} ranks did not end\n{log}"
        report = judge(self.outcomes, Ending(exit_code=max(p.exitcode or 0 for p in self.processes)))
        return Finished(int(report.outcome.exit_code), report, log)


def fork(server: ForkServerContext, job: TrainingJob, attempt: int = 1) -> RankGroup:
    """Start all ranks of an attempt."""
    world_size = job.plan.world_size
    folder = job.folder / f"outcomes-{attempt}"
    folder.mkdir(parents=True)
    config = job.folder / f"job-{attempt}.json"
    config.write_text(job.config(attempt).to_json())
    log = job.folder / f"attempt-{attempt}.log"
    log.touch()
    group: dict[str, object] = {}
    if world_size > 1:
        group = {"WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _port()}
    arguments = [str(item) for item in ("train", "--config", config, "--outcomes", folder, "--ranks", world_size)]
    processes = []
    for rank in range(world_size):
        own = {"RANK": rank, "LOCAL_RANK": rank} if world_size > 1 else {}
        environment = {name: str(value) for name, value in {**group, **own}.items()}
        process = server.Process(target=_run_rank, args=(environment, arguments, str(log)))
        process.start()
        processes.append(process)
    return RankGroup(job, attempt, tuple(processes), OutcomeFolder(folder, world_size), log)


def _run_rank(environment: dict[str, str], arguments: list[str], log: str) -> None:
    from vernacular_trainer import worker

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    code = worker.main(arguments)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
