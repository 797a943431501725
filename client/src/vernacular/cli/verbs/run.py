"""`vernacular run`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localjobs import (
    NEEDED_TO_RUN,
    REQUEST_FILE,
    RUNS_FOLDER,
    as_text,
    checked_job,
    digests_of,
    request_of,
    require,
)
from vernacular.cli.terminal import Terminal

_DIGESTS_FILE = "digests.json"


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Run all stages of a job on this machine; this process becomes the one that does."""
    found = checked_job(options, terminal)
    require(NEEDED_TO_RUN)
    folder = Path(options.work or Path(RUNS_FOLDER, found.job["metadata"]["name"])).absolute()
    request = request_of(found, options.model, options.gpus, options.mlflow)
    _keep(folder, {_DIGESTS_FILE: as_text(digests_of(request)), REQUEST_FILE: as_text(request)})
    sys.stdout.flush()
    command = (sys.executable, "-m", "vernacular_local", "run", str(folder))
    os.execv(sys.executable, command)  # noqa: S606 - no shell is meant


def _keep(folder: Path, documents: Mapping[str, str]) -> None:
    """Raises CliError when the folder is that of another job: what was learnt there must not be mixed with this."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: folder / name for name in documents}
        if any(path.is_file() and path.read_text(encoding="utf-8") != documents[name] for name, path in kept.items()):
            raise CliError(
                f"{folder} holds another job, or this one before it was changed, or a file or the model that it names",
                "name another folder with --work, or delete this one with what was learnt there",
            )
        for name, path in kept.items():
            path.write_text(documents[name], encoding="utf-8")
    except OSError as error:
        raise CliError(f"{folder} cannot be written: {error.strerror}", "name another folder with --work") from None
