"""`vernacular init`."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.starting import job_text, look, name_for
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Write the first job for a file of rows."""
    source, target = Path(options.file), Path(options.to)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise CliError(f"{source} cannot be read: {error.strerror}", "name a file that is there") from None
    # a job names its files relative to its own folder
    named = options.file if source.is_absolute() else os.path.relpath(source, target.parent)
    name = options.name or name_for(options.file)
    text = job_text(named, len(content), look(source.name, content), name, options.model)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{target} is there already", "name another file with --to") from None
    except OSError as error:
        raise CliError(f"{target} cannot be written: {error.strerror}", "name another file with --to") from None
    terminal.write([f"{target} is written; change what you like, then: {options.prog} submit {target} --watch"])
    return ExitCode.DONE
