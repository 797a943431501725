"""`vernacular run`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localjobs import REQUEST_FILE, as_text, checked_job, request_of, require
from vernacular.cli.terminal import Terminal

_FOLDER = "vernacular-runs"
_NEEDED = {"vernacular_trainer": "local", "torch": "local", "peft": "local", "sqlalchemy": "local"}


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Run all stages of a job on this machine; this process becomes the one that does."""
    found = checked_job(options, terminal)
    require(_NEEDED)
    folder = Path(options.work or Path(_FOLDER, found.job["metadata"]["name"])).absolute()
    _keep(folder, as_text(request_of(found, options.model, options.gpus, options.mlflow)))
    sys.stdout.flush()
    command = (sys.executable, "-m", "vernacular_local", "run", str(folder))
    os.execv(sys.executable, command)  # noqa: S606 - no shell is meant


def _keep(folder: Path, request: str) -> None:
    """Raises CliError when the folder is that of another job: what was learnt there must not be mixed with this."""
    path = folder / REQUEST_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_text(encoding="utf-8") != request:
            raise CliError(
                f"{folder} holds another job, or this one before it was changed",
                "name another folder with --work, or delete this one with what was learnt there",
            )
        path.write_text(request, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{folder} cannot be written: {error.strerror}", "name another folder with --work") from None
