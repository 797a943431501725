"""`vernacular cancel`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.steering import running
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """End a job for good, and keep its records."""
    jobs = open_jobs(options)
    running(jobs, options.job)
    if not terminal.confirm(f"End {options.job} for good? It cannot go on afterwards.", options.yes):
        terminal.note("Nothing was changed.")
        return ExitCode.REFUSED
    # the deadline of a suspended job stands still
    jobs.set_run_policy(options.job, {"activeDeadlineSeconds": 0, "suspend": False})
    terminal.write([f"{options.job} is being ended; {jobs.commands.own('retry', options.job)} makes it anew."])
    return ExitCode.DONE
