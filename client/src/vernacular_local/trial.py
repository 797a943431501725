"""The models of a job that ran on this machine, for a person to ask: what its stages' package is told to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vernacular.api import Stage
from vernacular_local.config import Place, stage_config, typed_job
from vernacular_local.request import LocalError, LocalRequest
from vernacular_local.state import load_state
from vernacular_operator.manifests.job_config import Attempt

_COLLECT = "collect-next.jsonl"


def trial_command(folder: Path, ask: Sequence[str], port: int, collect: Path | None) -> list[str]:
    """Arguments for Python that let a person ask the models of the job in a work folder: `ask` in the terminal, or on a
    page at `port` (0: any that is free), whose judgements go to `collect` (None: a file of the folder).

    Writes the document that they name. Raises LocalError for a job that has not been trained.
    """
    state, request = load_state(folder), LocalRequest.read(folder / "request.json")
    if state is None or Stage.TRAIN not in state.done:
        name = request.job["metadata"]["name"]
        raise LocalError(f"{name} has not been trained yet", "the same vernacular run goes on with it")
    attempt = Attempt(typed_job(request, state.uid), Stage.EVALUATE, 1, state.run_id)
    document = folder / "try.json"
    document.write_text(stage_config(request, attempt, Place(str(folder / "workspace"))).to_json(), encoding="utf-8")
    flags = [f"--config={document}", f"--collect={collect or folder / _COLLECT}", f"--port={port}"]
    return ["-m", "vernacular_trainer.trying", *flags, *(f"--ask={question}" for question in ask)]
