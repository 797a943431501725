"""`vernacular compare`."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vernacular.cli.cluster.identity import identity_of, of_this_cluster
from vernacular.cli.cluster.jobs import Jobs, open_jobs, unless_missing
from vernacular.cli.comparing import HELD_OUT_LOSS, TRAINING_LOSS, Subject, as_document, of_job, of_run
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.mlflow import open_mlflow
from vernacular.cli.runs import Curve, Run, Runs
from vernacular.cli.screens.compare import comparison
from vernacular.cli.screens.values import pick
from vernacular.cli.terminal import Terminal, printable

Json = dict[str, Any]

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show jobs side by side."""
    jobs = open_jobs(options)
    names = list(dict.fromkeys(options.jobs))
    if len(names) < 2:
        raise CliError("one job alone cannot be compared", f"name another one; {jobs.commands.own('list')} shows them")
    found = {name: _resource(jobs, name) for name in names}
    present = [job for job in found.values() if job]
    try:
        runs = Runs(open_mlflow(options.mlflow, present or jobs.all()))
        subjects = [_subject(name, found[name], runs, jobs) for name in names]
    except CliError as error:
        if len(present) < len(names) or options.mlflow:
            raise
        terminal.note(printable(f"Without the courses of the losses: {error.message}; {error.advice}"))
        subjects = [of_job(job, None, {}, datetime.now(UTC)) for job in present]
    if options.output == "json":
        terminal.out.write(json.dumps(as_document(subjects), indent=2, ensure_ascii=False) + "\n")
    else:
        terminal.write(comparison(subjects, terminal.paint, terminal.width))
    return ExitCode.DONE


def _resource(jobs: Jobs, name: str) -> Json | None:
    """The job; None when there is none of this name."""
    return None if _RUN_ID.fullmatch(name) else unless_missing(lambda: jobs.one(name))


def _subject(name: str, job: Json | None, runs: Runs, jobs: Jobs) -> Subject:
    now = datetime.now(UTC)
    if job:
        run_id = pick(job, "status.mlflow.runID")
        run = runs.one(run_id) if run_id else None
        return of_job(job, run, _curves(runs, run.run_id) if run else {}, now)
    by_id = runs.one(name) if _RUN_ID.fullmatch(name) else None
    found = [by_id] if by_id else _by_name(name, runs, jobs)
    if not found:
        raise CliError(
            f"there is neither a FineTuneJob {name} in namespace {jobs.namespace} nor a run of one in MLflow",
            f"{jobs.commands.own('list')} shows the jobs; a run may also be named by its id",
        )
    shown = f"{found[0].job or 'run'} {name[:8]}" if by_id else name
    return of_run(shown, found[0], _curves(runs, found[0].run_id), now)


def _by_name(name: str, runs: Runs, jobs: Jobs) -> list[Run]:
    tagged = runs.tagged(namespace=jobs.namespace, name=name)
    return of_this_cluster(tagged, identity_of(jobs), "name one of them by its id") if tagged else []


def _curves(runs: Runs, run_id: str) -> Mapping[str, Curve]:
    metrics: Sequence[str] = (TRAINING_LOSS, HELD_OUT_LOSS)
    return {metric: runs.course(run_id, metric) for metric in metrics}
