"""`vernacular explain`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.explaining import explain
from vernacular.cli.screens.explain import explanation
from vernacular.cli.screens.watch import ended
from vernacular.cli.steering import next_name
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Say why a job waits or has failed, and what mends it."""
    jobs = open_jobs(options)
    job = jobs.one(options.job)
    new = next_name(options.job, jobs.names()) if ended(job) else ""
    answer = explain(job, jobs.events(job), jobs.commands, new)
    terminal.write(explanation(answer, terminal.paint, terminal.width))
    return ExitCode.DONE
