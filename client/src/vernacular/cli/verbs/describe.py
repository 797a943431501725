"""`vernacular describe`."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.documents import dump
from vernacular.cli.errors import ExitCode
from vernacular.cli.screens.describe import describe
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show everything that is known of a job."""
    job = open_jobs(options).one(options.job)
    if options.output in ("json", "yaml"):
        terminal.out.write(dump(job, options.output))
    else:
        wide = options.output == "wide"
        terminal.write(describe(job, datetime.now(UTC), terminal.paint, terminal.width, wide=wide))
    return ExitCode.DONE
