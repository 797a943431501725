"""The command line and environment that start the processes of a stage."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vernacular_trainer import heartbeat
from vernacular_trainer.cgroup import available_cores
from vernacular_trainer.contract import RENDEZVOUS_PORT, JobConfig, Stage
from vernacular_trainer.outcomes import OutcomeFolder

JOIN_TIMEOUT_SECONDS = 600
READ_TIMEOUT_SECONDS = 60
# what the supervisor keeps of the grace period for itself, to kill, judge and report
SUPERVISOR_MARGIN_SECONDS = 10
FIRST_POD = "0"


@dataclass(frozen=True)
class Launch:
    """What to start: a program with its arguments, and its whole environment."""

    command: tuple[str, ...]
    environment: dict[str, str]


def local_ranks(config: JobConfig) -> int:
    """How many processes this pod runs for the stage."""
    if config.stage is not Stage.TRAIN:
        return 1
    return max(config.compute.gpus_per_pod, config.compute.processes_per_pod)


def pod_index(environ: Mapping[str, str]) -> str:
    """Index of this pod among those of its Job; that of the first pod where there is no Job."""
    return environ.get("JOB_COMPLETION_INDEX", FIRST_POD)


def shutdown_seconds(config: JobConfig) -> int:
    """How long the processes may take to save and leave after a request to stop."""
    return max(config.grace_period_seconds - SUPERVISOR_MARGIN_SECONDS, 1)


def plan_launch(config: JobConfig, config_path: Path, outcomes: OutcomeFolder, environ: Mapping[str, str]) -> Launch:
    """One plain process, or torchrun with one process per local rank when a pod of the training has more than one."""
    arguments = ("--config", str(config_path), "--outcomes", str(outcomes.path), "--ranks", str(outcomes.ranks))
    worker = ("-m", "vernacular_trainer.worker", config.stage.lower(), *arguments)
    environment = _environment(config, outcomes, environ)
    if config.stage is not Stage.TRAIN or outcomes.ranks == 1:
        # without an agent beside it a rank starts seconds earlier, keeps its exit code and cannot be left hanging
        return Launch((sys.executable, *worker), {**environment, **_place(config, environ)})
    launcher = (sys.executable, "-m", "torch.distributed.run", *_torchrun_options(config, outcomes.ranks, environ))
    return Launch((*launcher, *worker), environment)


def _place(config: JobConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would have told the only rank of one of several pods."""
    if config.stage is not Stage.TRAIN or config.compute.pods == 1:
        return {}
    return {
        "RANK": pod_index(environ),
        "WORLD_SIZE": str(config.compute.pods),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": config.compute.rendezvous_host,
        "MASTER_PORT": str(RENDEZVOUS_PORT),
    }


def _torchrun_options(config: JobConfig, ranks: int, environ: Mapping[str, str]) -> tuple[str, ...]:
    # a restarted agent would wait for the lost one: the operator restarts the training as a whole
    common = ("--max-restarts=0", f"--nproc-per-node={ranks}", f"--shutdown-timeout={shutdown_seconds(config)}")
    if config.compute.pods == 1:
        return (*common, "--standalone", "--local-addr=127.0.0.1")
    is_host = "true" if pod_index(environ) == FIRST_POD else "false"
    rendezvous = f"is_host={is_host},join_timeout={JOIN_TIMEOUT_SECONDS},read_timeout={READ_TIMEOUT_SECONDS}"
    return (
        *common,
        f"--nnodes={config.compute.pods}",
        f"--rdzv-id={config.identity.uid}-{config.attempt}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={config.compute.rendezvous_host}:{RENDEZVOUS_PORT}",
        f"--rdzv-conf={rendezvous}",
    )


def _environment(config: JobConfig, outcomes: OutcomeFolder, environ: Mapping[str, str]) -> dict[str, str]:
    environment = dict(environ)
    environment["OMP_NUM_THREADS"] = str(threads_per_rank(outcomes.ranks, environ))
    environment["TOKENIZERS_PARALLELISM"] = "false"
    # a pod's log is read after the fact: no bars, no notes of one library to another
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    environment["PYTHONWARNINGS"] = environ.get("PYTHONWARNINGS", "ignore::FutureWarning")
    # DeepSpeed calls `ninja`, which lives beside the interpreter
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", os.defpath)))
    if config.stage in (Stage.TRAIN, Stage.EVALUATE):
        # model and tokenizer are local by now: nothing may look them up in a hub
        environment["HF_HUB_OFFLINE"] = "1"
    if config.stage is Stage.TRAIN:
        environment[heartbeat.VARIABLE] = str(outcomes.path)
    if config.stage is Stage.TRAIN and (ops := environ.get("VERNACULAR_DEEPSPEED_OPS")):
        environment["TORCH_EXTENSIONS_DIR"] = str(_writable_ops(Path(ops), outcomes.path / "deepspeed-ops"))
    return environment


def _writable_ops(source: Path, target: Path) -> Path:
    # DeepSpeed locks the folder of its compiled operators even to read it; times are kept, or ninja would compile again
    shutil.copytree(source, target, copy_function=shutil.copy2)
    return target


def threads_per_rank(ranks: int, environ: Mapping[str, str]) -> int:
    """Threads of each local rank: VERNACULAR_THREADS, else the pod's share of processors divided among the ranks."""
    override = environ.get("VERNACULAR_THREADS", "")
    return int(override) if override.isdecimal() and int(override) > 0 else max(available_cores() // ranks, 1)
