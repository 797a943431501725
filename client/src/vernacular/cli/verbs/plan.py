"""`vernacular plan`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localjobs import REQUEST_FILE, as_text, checked_job, request_of, require
from vernacular.cli.screens.values import pick
from vernacular.cli.terminal import Terminal

_NEEDED = {"vernacular_trainer": "data", "pyarrow": "data", "huggingface_hub": "data"}


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show what a job comes to."""
    found = checked_job(options, terminal)
    require(_NEEDED)
    pace = _pace(options, found.job) if options.like else None
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, REQUEST_FILE).write_text(as_text(request_of(found, options.model)), encoding="utf-8")
        if pace:
            Path(folder, "pace.json").write_text(json.dumps(pace), encoding="utf-8")
        flags = [f"--gpu-memory={options.gpu_memory}"] if options.gpu_memory else []
        done = subprocess.run((sys.executable, "-m", "vernacular_local", "plan", folder, *flags), check=False)
    return ExitCode.REFUSED if done.returncode else ExitCode.DONE


def _pace(options: Namespace, job: dict[str, Any]) -> dict[str, Any]:
    """How fast the other job was. Raises CliError when it says nothing about this one."""
    jobs = open_jobs(options)
    other = jobs.one(options.like)
    speed, tokens = pick(other, "status.progress.tokensPerSecond"), pick(other, "status.dataset.tokens")
    rows = pick(other, "status.dataset.train")
    if not (speed and tokens and rows):
        raise CliError(f"{options.like} has not trained yet, so that its pace is not known", "name a job that has")
    model, its = pick(job, "spec.model.uri"), pick(other, "spec.model.uri")
    if model != its:
        raise CliError(f"{options.like} trained {its}, and this job {model}", "name a job with the same model")
    compute = pick(other, "spec.compute") or {}
    cost = pick(other, "status.runtime.spec.cost") or {}
    return {
        "job": options.like,
        "tokens_per_second": float(speed),
        "ranks": int(compute.get("pods") or 1) * int(compute.get("gpusPerPod") or compute.get("processesPerPod") or 1),
        "tokens_per_row": tokens / rows,
        "price_per_hour": cost.get("gpuPricePerHour") or "",
        "currency": cost.get("currency") or "",
    }
