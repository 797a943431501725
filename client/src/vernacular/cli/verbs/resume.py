"""`vernacular resume`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.screens.values import pick
from vernacular.cli.steering import running
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Let a suspended job go on."""
    jobs = open_jobs(options)
    job = running(jobs, options.job)
    if not pick(job, "spec.runPolicy.suspend"):
        terminal.write([f"{options.job} is not suspended."])
        return ExitCode.DONE
    jobs.set_run_policy(options.job, {"suspend": False})
    terminal.write([f"{options.job} goes on; {jobs.commands.own('watch', options.job)} follows it."])
    return ExitCode.DONE
