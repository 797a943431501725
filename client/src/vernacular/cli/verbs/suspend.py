"""`vernacular suspend`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.screens.values import pick
from vernacular.cli.steering import running
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Stop a job and keep what was learned."""
    jobs = open_jobs(options)
    job = running(jobs, options.job)
    if pick(job, "spec.runPolicy.suspend"):
        terminal.write([f"{options.job} is suspended already."])
        return ExitCode.DONE
    jobs.set_run_policy(options.job, {"suspend": True})
    terminal.write([f"{options.job} is being suspended; {jobs.commands.own('resume', options.job)} lets it go on."])
    return ExitCode.DONE
