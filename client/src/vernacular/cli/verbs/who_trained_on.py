"""`vernacular who-trained-on`."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from vernacular.cli.cluster.jobs import Jobs, open_jobs
from vernacular.cli.columns import column_flags
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.localjobs import require
from vernacular.cli.lookup import ARTIFACT, ARTIFACT_FOLDER, Use, as_document, parse_digests, uses_of
from vernacular.cli.mlflow import Mlflow, open_mlflow
from vernacular.cli.registry import Registry
from vernacular.cli.runs import Run, Runs
from vernacular.cli.screens.lookup import answer
from vernacular.cli.screens.values import counted, pick
from vernacular.cli.terminal import Terminal, printable

Json = dict[str, Any]


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Say which jobs, runs and versions were made of the rows of files."""
    require({"vernacular_trainer": "data", "pyarrow": "data"})
    rows = _digests(options.files, options.column)
    asked = [(place, digest) for place, digest in rows if digest]
    unreadable = [place for place, digest in rows if not digest]
    if unreadable:
        shown = ", ".join(unreadable[:5])
        terminal.note(printable(f"{counted(len(unreadable), 'row')} cannot be read as a row of any format: {shown}"))
    if not asked:
        raise CliError("there is no row to ask about", "name a file with rows as a job reads them; see the data guide")
    jobs = open_jobs(options)
    present = _present(jobs, options, terminal)
    mlflow = open_mlflow(options.mlflow, present)
    uses, unknown = _look(asked, mlflow, {} if options.all_namespaces else {"namespace": jobs.namespace})
    listed = {use.run.uid for use in uses} | {item.uid for item in unknown}
    names = [_name(item.namespace, item.job) for item in unknown]
    names += [_name(*_identity(job)) for job in present if job["metadata"]["uid"] not in listed and _silent(job)]
    if options.output == "json":
        document = as_document(uses, names, unreadable)
        terminal.out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        terminal.write(answer(len(asked), uses, names, terminal.paint, terminal.width))
    return ExitCode.DONE


def _digests(files: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
    """Place and digest of every row, by the code that lists them in a job."""
    command = (sys.executable, "-m", "vernacular_trainer", "digests", *column_flags(columns), "--", *files)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise CliError("the rows cannot be read", "the line above says why")
    return [(place, digest) for place, digest in map(json.loads, done.stdout.splitlines())]


def _present(jobs: Jobs, options: Namespace, terminal: Terminal) -> list[Json]:
    """Jobs of the cluster; MLflow alone answers for those that may not be seen."""
    try:
        return jobs.all(everywhere=options.all_namespaces)
    except CliError as error:
        if not options.mlflow:
            raise
        terminal.note(printable(f"Jobs of the cluster are left out: {error.message}"))
        return []


def _look(asked: Sequence[tuple[str, str]], mlflow: Mlflow, tags: dict[str, str]) -> tuple[list[Use], list[Run]]:
    """Runs that used one of the rows, and those that do not say what they used."""
    runs, registry = Runs(mlflow), Registry(mlflow)
    uses, unknown = [], []
    for item in runs.tagged(trash=True, **tags):
        if ARTIFACT not in runs.artifacts(item.run_id, ARTIFACT_FOLDER):
            unknown.append(item)
            continue
        trained, tested = uses_of(asked, parse_digests(runs.artifact(item.run_id, ARTIFACT)))
        if trained or tested:
            versions = tuple(registry.versions_of(item.run_id))
            uses.append(Use(item, tuple(trained), tuple(tested), versions))
    return uses, unknown


def _silent(job: Json) -> bool:
    """Whether a job may hold rows that no run tells of: it has begun, and published nothing."""
    return bool(pick(job, "status.startTime")) and not pick(job, "status.mlflow.modelVersion")


def _identity(job: Json) -> tuple[str, str]:
    return job["metadata"].get("namespace", ""), job["metadata"]["name"]


def _name(namespace: str, job: str) -> str:
    return f"{namespace}/{job}"
