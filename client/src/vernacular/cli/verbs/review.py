"""`vernacular review`."""

from __future__ import annotations

import getpass
import importlib.util
import subprocess
import sys
from argparse import Namespace

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.jobs import Jobs, open_jobs
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.mlflow import open_mlflow
from vernacular.cli.screens.values import pick
from vernacular.cli.terminal import Terminal

_WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_PACKAGES = ("vernacular_trainer", "python_calamine", "mlflow")
_ENDS = {
    0: ExitCode.DONE,
    # as stages end with what a user can mend, and with what may pass
    78: ExitCode.REFUSED,
    203: ExitCode.NO_ACCESS,
}


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Have a filled in workbook judged, and what follows from it recorded."""
    if any(importlib.util.find_spec(package) is None for package in _PACKAGES):
        raise CliError("the packages that judge answers are missing", "install this package's extra [data]")
    jobs = open_jobs(options)
    job = jobs.one(options.job)
    run_id = pick(job, "status.mlflow.runID")
    if not run_id or not pick(job, "status.evaluation.verdict"):
        advice = f"{jobs.commands.own('describe', options.job)} shows how far it is"
        raise CliError(f"{options.job} has not been evaluated", advice)
    # a value and its flag in one word, and the file last: they may begin with a hyphen
    flags = [
        f"--mlflow={open_mlflow(options.mlflow, [job]).address}",
        f"--run={run_id}",
        f"--reviewer={options.reviewer or user_of(jobs)}",
        *(["--dry-run"] if options.dry_run else []),
    ]
    command = (sys.executable, "-m", "vernacular_trainer", "review", *flags, "--", options.sheet)
    done = subprocess.run(command, check=False)
    if done.returncode not in _ENDS:
        raise CliError("the review has broken off", "the lines above say why; please report them")
    return _ENDS[done.returncode]


def user_of(jobs: Jobs) -> str:
    """As whom the cluster knows the person, else this machine."""
    question = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        name = pick(jobs.client.create(_WHO_AM_I, question), "status.userInfo.username")
    except ApiError:
        name = None
    return str(name or getpass.getuser())
