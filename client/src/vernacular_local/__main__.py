"""`python -m vernacular_local run FOLDER`, `plan FOLDER [--gpu-memory 80GiB]` and `try FOLDER [--ask QUESTION]`.

The folder holds the request (request.json), and for a plan the pace of another job where there is one (pace.json).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from vernacular_local.request import LocalError, LocalRequest
from vernacular_trainer.errors import StageError

REFUSED = 1


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status of the command line."""
    parser = argparse.ArgumentParser(prog="python -m vernacular_local", description="A job on this machine.")
    parser.add_argument("what", choices=("run", "plan", "try"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gpu-memory")
    parser.add_argument("--ask", action="append", default=[])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--collect", type=Path)
    options = parser.parse_args(arguments)
    try:
        return _WHAT[options.what](options)
    except (LocalError, StageError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"Error: {error.message}\n  {error.advice}\n")
        return REFUSED


def _run(options: argparse.Namespace) -> int:
    from vernacular_local.pipeline import REQUEST_FILE, Pipeline

    folder = options.folder
    return int(Pipeline(LocalRequest.read(folder / REQUEST_FILE), folder, sys.stdout, os.environ).run())


def _plan(options: argparse.Namespace) -> int:
    from vernacular_local.planned import Pace, show

    pace = options.folder / "pace.json"
    known = Pace(**json.loads(pace.read_text(encoding="utf-8"))) if pace.is_file() else None
    show(LocalRequest.read(options.folder / "request.json"), options.gpu_memory, known, sys.stdout)
    return 0


def _try(options: argparse.Namespace) -> int:
    from vernacular_local.trial import trial_command

    command = trial_command(options.folder, options.ask, options.port, options.collect)
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - no shell is meant


_WHAT = {"run": _run, "plan": _plan, "try": _try}


if __name__ == "__main__":
    sys.exit(main())
