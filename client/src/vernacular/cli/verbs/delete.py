"""`vernacular delete`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.steering import lost_with
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Delete a job."""
    jobs = open_jobs(options)
    job = jobs.one(options.job)
    if not terminal.confirm(f"Delete {options.job} of namespace {jobs.namespace}? {lost_with(job)}", options.yes):
        terminal.note("Nothing was deleted.")
        return ExitCode.REFUSED
    jobs.delete(job)
    terminal.write([f"{options.job} is being deleted."])
    return ExitCode.DONE
