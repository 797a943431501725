"""`vernacular submit`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.jobs import Jobs, open_jobs, refusals
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.jobfile import JobFile, jobs_of, lines_of, read_text
from vernacular.cli.localfiles import LocalFile
from vernacular.cli.screens.values import counted
from vernacular.cli.steering import to_create
from vernacular.cli.terminal import Terminal, printable
from vernacular.cli.validation import job_schema
from vernacular.cli.verbs.watch import follow

_CONFLICT = 409


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Create a job from a file."""
    found = _checked(options, terminal)
    jobs = _jobs(options, found)
    job = to_create(found.job)
    _create(jobs, job, found.name, dry_run=True)
    if options.dry_run:
        terminal.write([f"{found.name} would be created in namespace {jobs.namespace}."])
        return ExitCode.DONE
    for file in found.files:
        _upload(jobs, file)
    _create(jobs, job, found.name)
    for file in found.files:
        packed = ", packed" if file.packed else ""
        terminal.write([f"{file.path} is in ConfigMap {file.config_map['metadata']['name']}{packed}."])
    terminal.write([f"{found.name} is created in namespace {jobs.namespace}."])
    return follow(jobs, found.name, terminal) if options.watch else ExitCode.DONE


def _checked(options: Namespace, terminal: Terminal) -> JobFile:
    file = options.file
    found = jobs_of(read_text(file), Path(file).parent, job_schema(), options.name, options.data or ())
    if len(found) != 1:
        raise CliError(f"{file} has {len(found)} documents, not one", "write each job into a file of its own")
    if problems := found[0].problems:
        for line in lines_of(file, problems):
            terminal.note(printable(line))
        raise CliError(f"{counted(len(problems), 'problem')} found; nothing was created", "mend the lines above")
    return found[0]


def _jobs(options: Namespace, found: JobFile) -> Jobs:
    """The file's namespace counts where no flag names one."""
    own = found.job["metadata"].get("namespace")
    if own and options.namespace and own != options.namespace:
        raise CliError(
            f"the file says namespace {own}, and the command line {options.namespace}", "leave one of them out"
        )
    options.namespace = options.namespace or own
    return open_jobs(options)


def _create(jobs: Jobs, job: dict[str, object], name: str, *, dry_run: bool = False) -> None:
    try:
        jobs.create(job, dry_run=dry_run)
    except CliError as error:
        if _is_conflict(error):
            raise CliError(
                f"there is a FineTuneJob {name} in namespace {jobs.namespace} already",
                "give this one another name with --name, or delete that one first",
            ) from error.__cause__
        raise


def _upload(jobs: Jobs, file: LocalFile) -> None:
    """Create the ConfigMap, or use the one that is there.

    It is never taken back: another job may name it, this one too when only the answer to its creation was lost.
    """
    path = f"/api/v1/namespaces/{jobs.namespace}/configmaps"
    try:
        with refusals(jobs.namespace):
            jobs.client.create(path, file.config_map)
    except CliError as error:
        if not _is_conflict(error):
            raise
        name = file.config_map["metadata"]["name"]
        with refusals(jobs.namespace):
            present = jobs.client.get(f"{path}/{name}")
        if not file.is_in(present):
            raise CliError(
                f"the ConfigMap {name} in namespace {jobs.namespace} is not what submit would make of {file.path}",
                "look at it; if no job needs it, delete it, and submit again",
            ) from None


def _is_conflict(error: CliError) -> bool:
    return isinstance(error.__cause__, ApiError) and error.__cause__.code == _CONFLICT
