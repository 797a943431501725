"""`python -m vernacular_local run FOLDER` and `python -m vernacular_local plan FOLDER [--gpu-memory 80GiB]`.

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
    parser.add_argument("what", choices=("run", "plan"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gpu-memory")
    options = parser.parse_args(arguments)
    try:
        return _run(options.folder) if options.what == "run" else _plan(options.folder, options.gpu_memory)
    except (LocalError, StageError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"Error: {error.message}\n  {error.advice}\n")
        return REFUSED


def _run(folder: Path) -> int:
    from vernacular_local.pipeline import REQUEST_FILE, Pipeline

    return int(Pipeline(LocalRequest.read(folder / REQUEST_FILE), folder, sys.stdout, os.environ).run())


def _plan(folder: Path, gpu_memory: str | None) -> int:
    from vernacular_local.planned import Pace, show

    pace = folder / "pace.json"
    known = Pace(**json.loads(pace.read_text(encoding="utf-8"))) if pace.is_file() else None
    show(LocalRequest.read(folder / "request.json"), gpu_memory, known, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
