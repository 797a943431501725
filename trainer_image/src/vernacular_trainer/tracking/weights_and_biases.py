"""The metrics of a job as a run of Weights & Biases, under the same names and steps as in MLflow.

It is made from the spool when the job is published, in a process of its own: whatever the library does, MLflow has
everything already, and publishing goes on after a while.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import WEIGHTS_AND_BIASES_KEYS, JobConfig, WeightsAndBiasesConfig
from vernacular_trainer.tracking.spool import Point

PATIENCE_SECONDS = 180.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replay:
    """What becomes one run: `uid` makes it the same when it is made again, `history` are pairs of step and values."""

    project: str
    entity: str
    uid: str
    name: str
    parameters: dict[str, str]
    history: list[tuple[int, dict[str, float]]]


def replay_of(config: JobConfig, parameters: Mapping[str, str], points: Iterable[Point]) -> Replay:
    """The run of a job; the library takes steps in ascending order alone. Pure."""
    wanted = config.weights_and_biases
    assert wanted
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for point in points:
        by_step[point.step][point.key] = point.value
    return Replay(
        project=wanted.project,
        entity=wanted.entity,
        uid=config.identity.uid,
        name=f"{config.identity.namespace}/{config.identity.name}",
        parameters=dict(parameters),
        history=sorted(by_step.items()),
    )


def write_run(replay: Replay, wanted: WeightsAndBiasesConfig, folder: Path, seconds: float = PATIENCE_SECONDS) -> bool:
    """Make the run's offline files in an empty `folder`, and send them if that is wanted. Whether all of it worked.

    Never raises because of the library or its server.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # the library also writes where it is started; -P: what lies there is not imported
    python = (sys.executable, "-P", "-m")
    made = _run([*python, __name__, str(folder)], folder, json.dumps(dataclasses.asdict(replay)), {}, seconds)
    if not made or not wanted.online:
        return made
    files = [str(path) for path in folder.glob("wandb/offline-run-*")]
    sent = _run([*python, "wandb", "sync", *files], folder, "", _credentials(wanted), seconds)
    # the library marks what it has sent
    return sent and bool(list(folder.glob("wandb/offline-run-*/*.synced")))


def _run(command: list[str], folder: Path, text: str, extra: Mapping[str, str], seconds: float) -> bool:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "MLFLOW_"))}
    environment |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", **extra}
    try:
        code = _exit_code(command, folder, text, environment, seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("Weights & Biases has nothing of this job: %s", type(error).__name__)
        return False
    if code:
        log.warning("Weights & Biases has nothing of this job: exit code %d", code)
    return code == 0


def _exit_code(command: list[str], folder: Path, text: str, environment: Mapping[str, str], seconds: float) -> int:
    """What the library prints is dropped, since it may hold parts of its key; nothing of it outlives this call."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=silent,
        stderr=silent,
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
    )
    try:
        process.communicate(text, timeout=seconds)
        return process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _credentials(wanted: WeightsAndBiasesConfig) -> dict[str, str]:
    folder = Path(wanted.credentials_path)
    found = {key: folder / key for key in WEIGHTS_AND_BIASES_KEYS if wanted.credentials_path}
    return {key: path.read_text().strip() for key, path in found.items() if path.is_file()}


def make(replay: dict[str, Any], folder: Path) -> None:
    """Write the offline files, as a process of its own."""
    import wandb

    quiet = wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True)
    with wandb.init(
        project=replay["project"],
        entity=replay["entity"] or None,
        id=replay["uid"],
        name=replay["name"],
        config=replay["parameters"],
        dir=folder,
        mode="offline",
        settings=quiet,
    ) as run:
        for step, values in replay["history"]:
            run.log(values, step=step)


if __name__ == "__main__":
    make(json.load(sys.stdin), Path(sys.argv[1]))
