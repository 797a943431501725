"""`vernacular logs`."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vernacular.cli.cluster.jobs import Jobs, open_jobs, refusals
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.pods import CONTAINER, Place, ready_to_speak, selector, where
from vernacular.cli.terminal import Terminal

Json = dict[str, Any]


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show the log of one pod of a job."""
    jobs = open_jobs(options)
    job = jobs.one(options.job)
    place = where(job, options.stage, options.attempt, options.rank, jobs.commands)
    pod = _pod(jobs, job, place)
    if trouble := ready_to_speak(pod):
        raise CliError(
            f"pod {pod['metadata']['name']} has no log yet: {trouble}",
            f"{jobs.commands.own('explain', options.job)} says what it waits for",
        )
    path = f"/api/v1/namespaces/{jobs.namespace}/pods/{pod['metadata']['name']}/log"
    query = {"container": CONTAINER}
    query |= {"follow": "true"} if options.follow else {}
    query |= {"tailLines": str(options.tail)} if options.tail is not None else {}
    with refusals(jobs.namespace):
        for line in jobs.client.lines(path, None, **query):
            terminal.out.write(line.decode(errors="replace") + "\n")
            terminal.out.flush()
    return ExitCode.DONE


def _pod(jobs: Jobs, job: Json, place: Place) -> Json:
    """Raises CliError when there is no such pod any more."""
    path = f"/api/v1/namespaces/{jobs.namespace}/pods"
    with refusals(jobs.namespace):
        found = jobs.client.get(path, labelSelector=selector(job, place)).get("items")
    if found:
        return dict(found[-1])
    raise CliError(
        f"{place} of {job['metadata']['name']} has no pod here",
        "pods go with their attempt; choose another with --stage, --attempt and --rank, or read what its run in MLflow"
        " keeps",
    )
