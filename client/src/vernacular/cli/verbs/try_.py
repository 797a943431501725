"""`vernacular try`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localjobs import NEEDED_TO_RUN, REQUEST_FILE, RUNS_FOLDER, require
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Let a person ask the models of a job; this process becomes the one that answers."""
    folder = Path(options.work or Path(RUNS_FOLDER, options.job)).absolute()
    if not (folder / REQUEST_FILE).is_file():
        raise CliError(
            f"there is no job in {folder}",
            "vernacular run makes one on this machine; name its folder with --work when it is another one",
        )
    require(NEEDED_TO_RUN)
    # a value and its flag in one word: it may begin with a hyphen
    flags = [f"--ask={question}" for question in options.ask]
    flags += [f"--port={options.port}"] if options.port is not None else []
    flags += [f"--collect={Path(options.collect).absolute()}"] if options.collect else []
    sys.stdout.flush()
    command = (sys.executable, "-m", "vernacular_local", "try", str(folder), *flags)
    os.execv(sys.executable, command)  # noqa: S606 - no shell is meant
