"""`vernacular check`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from argparse import Namespace

from vernacular.cli.columns import column_flags
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.terminal import Terminal

_FLAGS = ("objective", "teaches", "format", "questions", "reports")
# what a user can mend, as stages end with it
_FIX = 78


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Have the checks of the prepare stage look at files of rows."""
    if any(importlib.util.find_spec(package) is None for package in ("vernacular_trainer", "pyarrow", "rensa")):
        raise CliError("the packages that read and compare rows are missing", "install this package's extra [data]")
    # a flag and its value in one word: a file may be called --help
    flags = [f"--{flag}={value}" for flag in _FLAGS if (value := getattr(options, flag)) is not None]
    flags += column_flags(options.column)
    flags += [f"--validation={file}" for file in options.validation]
    command = (sys.executable, "-m", "vernacular_trainer", "check", *flags, "--", *options.files)
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, _FIX):
        raise CliError("the checks have broken off", "the lines above say why; please report them")
    return ExitCode.REFUSED if done.returncode else ExitCode.DONE
