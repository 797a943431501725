"""`vernacular list`."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.documents import as_list, dump
from vernacular.cli.errors import ExitCode
from vernacular.cli.screens.jobs import job_table
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show the jobs of a namespace, or of all."""
    jobs = open_jobs(options)
    everywhere = options.all_namespaces
    found = jobs.all(everywhere=everywhere)
    if options.output in ("json", "yaml"):
        terminal.out.write(dump(as_list(found), options.output))
    elif found:
        wide = options.output == "wide"
        terminal.write(job_table(found, datetime.now(UTC), terminal.paint, wide=wide, namespaces=everywhere))
    else:
        where = "on this cluster" if everywhere else f"in namespace {jobs.namespace}"
        terminal.note(f"There are no FineTuneJobs {where}.")
    return ExitCode.DONE
