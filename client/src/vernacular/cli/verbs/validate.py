"""`vernacular validate`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.jobfile import jobs_of, lines_of, read_text
from vernacular.cli.screens.values import counted
from vernacular.cli.terminal import Terminal, printable
from vernacular.cli.validation import job_schema


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Check files of jobs without a cluster."""
    schema = job_schema()
    problems = 0
    for file in options.files:
        jobs = jobs_of(read_text(file), Path(file).parent, schema)
        if not jobs:
            raise CliError(f"{file} says nothing", "write a FineTuneJob into it")
        for job in jobs:
            problems += len(job.problems)
            valid = [] if job.problems else [f"{file}: FineTuneJob {job.name} is valid"]
            terminal.write([printable(line) for line in [*valid, *lines_of(file, job.problems)]])
    if problems:
        raise CliError(f"{counted(problems, 'problem')} found", "mend the lines above")
    return ExitCode.DONE
