"""`vernacular init`."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localfiles import LIMIT_BYTES, may_be_named, stored_rows
from vernacular.cli.starting import check_words, job_text, look, name_for
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
    check_words(name, options.model)
    fits = len(stored_rows(source.name, content)) <= LIMIT_BYTES
    text = job_text(named, look(source.name, content), name, options.model, fits=fits)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{target} is there already", "name another file with --to") from None
    except OSError as error:
        raise CliError(f"{target} cannot be written: {error.strerror}", "name another file with --to") from None
    terminal.write([f"{target} is written; {_next(options.prog, source, target, fits=fits)}"])
    return ExitCode.DONE


def _next(prog: str, source: Path, target: Path, *, fits: bool) -> str:
    """What is left to do until the job can be submitted."""
    words = ["submit", str(target), "--watch"]
    if not fits:
        change = f"{source} is too large for a ConfigMap: copy it to a claim of the namespace, and name that for CLAIM"
    else:
        change = "change what you like"
        if not may_be_named(source, target.parent):
            words[2:2] = ["--data", str(source)]
    return f"{change}, then: {prog} {shlex.join(words)}"
