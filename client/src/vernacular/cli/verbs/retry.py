"""`vernacular retry`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.steering import copy_of, next_name
from vernacular.cli.terminal import Terminal
from vernacular.cli.verbs.watch import follow


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Make a job anew, under a new name."""
    jobs = open_jobs(options)
    old = jobs.one(options.job)
    name = options.name or next_name(options.job, [item["metadata"]["name"] for item in jobs.all()])
    jobs.create(copy_of(old, name))
    terminal.write([f"{name} is made, with the spec of {options.job}."])
    return follow(jobs, name, terminal) if options.watch else ExitCode.DONE
