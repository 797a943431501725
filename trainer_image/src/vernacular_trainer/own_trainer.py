"""A trainer of the user's own in the train stage: what it finds, and how its end is judged (docs/guide/own-trainer.md).

Standard library only, for Python 3.11 and newer: it also runs in images that hold nothing else of this package.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from vernacular_trainer.contract import (
    RENDEZVOUS_PORT,
    SUPERVISOR_ROOT,
    ExitCode,
    JobConfig,
    Outcome,
    StageFailure,
    StageReport,
    TrainSummary,
    summary_to_dict,
)
from vernacular_trainer.errors import StageError
from vernacular_trainer.launch import FIRST_POD, Launch, local_ranks, pod_index
from vernacular_trainer.outcomes import Ending
from vernacular_trainer.workspace import Workspace

_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,12})")
_ATTEMPT = re.compile(r"attempt-([0-9]{1,6})")
_ADVICE = (
    "see docs/guide/own-trainer.md for what a trainer of your own leaves where, and the pod's log for what it said"
)


def launch(config: JobConfig, command: tuple[str, ...], config_path: Path, environ: Mapping[str, str]) -> Launch:
    """The user's command with its environment. Raises StageError (ArgumentRefused) when there is no such program."""
    environment = _environment(config, config_path, environ)
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        message = f"trainer.command starts {command[0]!r}, which is no program of the image"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, "name a program that is on the PATH of the image")
    _folder_of(config).mkdir(parents=True, exist_ok=True)
    return Launch((program, *command[1:]), environment)


def _environment(config: JobConfig, config_path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    workspace, compute = Workspace(Path(config.workspace)), config.compute
    newest = _newest(workspace)
    address = compute.rendezvous_host or "127.0.0.1"
    own = {
        "VERNACULAR_JOB": str(config_path),
        "VERNACULAR_MODEL": config.model.path,
        "VERNACULAR_INPUTS": str(workspace.inputs),
        "VERNACULAR_TRAIN_ROWS": str(workspace.train_rows),
        "VERNACULAR_VALIDATION_ROWS": str(workspace.validation_rows),
        "VERNACULAR_PLAN": str(workspace.plan),
        "VERNACULAR_RESULT": str(_result(config)),
        "VERNACULAR_CHECKPOINTS": str(_folder_of(config)),
        "VERNACULAR_RESUME_FROM": str(newest[1]) if newest else "",
        "VERNACULAR_ATTEMPT": str(config.attempt),
        "VERNACULAR_GRACE_SECONDS": str(config.grace_period_seconds),
        "MLFLOW_TRACKING_URI": config.tracking.uri,
        "MLFLOW_RUN_ID": config.tracking.run_id,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        # options of torchrun, so that a plain `torchrun train.py` starts the right processes
        "PET_NNODES": str(compute.pods),
        "PET_NODE_RANK": pod_index(environ),
        "PET_NPROC_PER_NODE": str(local_ranks(config)),
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": str(RENDEZVOUS_PORT),
    }
    inherited = {name: value for name, value in environ.items() if (name, value) != ("PYTHONPATH", SUPERVISOR_ROOT)}
    return {**inherited, **own}


def judge(config: JobConfig, ending: Ending, environ: Mapping[str, str], *, out_of_memory: bool = False) -> StageReport:
    """The report of the stage, from the exit code and from what the command left.

    `out_of_memory`: the kernel killed one of its processes for memory.
    """
    if ending.exit_code == ExitCode.DONE and not ending.killed:
        missing = _missing(_result(config)) if pod_index(environ) == FIRST_POD else ""
        if missing and not ending.stopped:
            message = f"trainer.command ended with 0 but left no {missing} in {_result(config)}"
            return StageError(StageFailure.ARGUMENT_REFUSED, message, _ADVICE).report()
        if not missing:
            return StageReport(Outcome.DONE, summary=summary_to_dict(_summary(config)))
    if ending.stopped or ending.exit_code == ExitCode.PREEMPTED:
        summary = _summary(config)
        message = f"trainer.command was stopped; its newest checkpoint is that of step {summary.checkpoint_step}"
        advice = "nothing to do: the next attempt finds the checkpoint in VERNACULAR_RESUME_FROM"
        return StageReport(Outcome.PREEMPTED, message=message, advice=advice, summary=summary_to_dict(summary))
    if ending.exit_code == ExitCode.USER_ERROR:
        message = "trainer.command ended with exit code 78: only its user can mend what is wrong"
        return StageError(StageFailure.ARGUMENT_REFUSED, message, _ADVICE).report()
    if out_of_memory:
        message = "trainer.command failed after the kernel killed one of its processes for memory"
        advice = "raise the memory limit with podOverrides, or let your program need less"
        return StageError(
            StageFailure.HOST_OUT_OF_MEMORY, message, advice, "oom_kill of the pod's control group"
        ).report()
    how = f"signal {-ending.exit_code}" if ending.exit_code < 0 else f"exit code {ending.exit_code}"
    message = f"trainer.command ended with {how}"
    return StageReport(
        Outcome.INTERNAL,
        code=StageFailure.INTERNAL_ERROR,
        message=message,
        advice="it is tried again within runPolicy.maxRestarts; see the pod's log",
        summary=summary_to_dict(_summary(config)),
    )


def _result(config: JobConfig) -> Path:
    return Workspace(Path(config.workspace)).result / config.method.result


def _missing(result: Path) -> str:
    """What a complete result lacks, "" when nothing. A link could lead out of the workspace, so none counts."""
    settings = "config.json" if result.name == "model" else "adapter_config.json"
    if not _is_file(result / settings):
        return settings
    if not any(_is_file(path) for path in result.glob("*.safetensors")):
        return "*.safetensors"
    links = [path.name for path in result.rglob("*") if path.is_symlink()]
    return f"plain file {links[0]} (it is a link)" if links else ""


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _folder_of(config: JobConfig) -> Path:
    return Workspace(Path(config.workspace)).attempt(config.attempt)


def _newest(workspace: Workspace) -> tuple[int, Path] | None:
    """Step and folder of the furthest checkpoint of any attempt; of two at the same step that of the later attempt."""
    found = _checkpoints(workspace)
    return (found[-1][0], found[-1][2]) if found else None


def _checkpoints(workspace: Workspace) -> list[tuple[int, int, Path]]:
    """Step, attempt and folder of all checkpoints, the furthest one last."""
    found: list[tuple[int, int, Path]] = []
    for path in workspace.checkpoints.glob("attempt-*/checkpoint-*"):
        step, attempt = _CHECKPOINT.fullmatch(path.name), _ATTEMPT.fullmatch(path.parent.name)
        if step and attempt and path.is_dir():
            found.append((int(step.group(1)), int(attempt.group(1)), path))
    return sorted(found)


def _summary(config: JobConfig) -> TrainSummary:
    """Steps as far as checkpoints tell: what else the command did, it alone knows."""
    found = _checkpoints(Workspace(Path(config.workspace)))
    step = found[-1][0] if found else 0
    return TrainSummary(step=step, total_steps=step, checkpoint_step=step, complete_checkpoints=len(found))
