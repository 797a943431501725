"""`vernacular models`."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.mlflow import open_mlflow
from vernacular.cli.registry import Registry
from vernacular.cli.screens.models import model_table
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Show the registered models of a namespace, with their versions."""
    jobs = open_jobs(options)
    registry = Registry(open_mlflow(options.mlflow, [] if options.mlflow else jobs.all()))
    prefix = "" if options.all else f"{jobs.namespace}."
    versions = [version for model in registry.models(prefix) for version in registry.versions(model)]
    if versions:
        terminal.write(model_table(versions, datetime.now(UTC), terminal.paint))
    else:
        of = "" if options.all else f" of namespace {jobs.namespace}"
        terminal.note(f"MLflow at {registry.address} has no registered models{of}.")
    return ExitCode.DONE
