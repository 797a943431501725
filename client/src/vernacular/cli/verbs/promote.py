"""`vernacular promote`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.promoting import alias_of, decide, model_of
from vernacular.cli.registry import open_registry
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Point the alias that serving reads to a version of the job's model."""
    job = open_jobs(options).one(options.job)
    model, alias = model_of(job), alias_of(job, options.alias)
    registry = open_registry(options.mlflow, [job])
    promotion = decide(job, registry.versions(model), options.version, alias)
    version = f"{model} version {promotion.version.number}"
    if promotion.needless:
        terminal.write([f"{version} is {alias} already."])
        return ExitCode.DONE
    if promotion.doubt and not terminal.confirm(promotion.doubt, options.yes):
        terminal.note("Nothing was changed.")
        return ExitCode.REFUSED
    registry.promote(promotion.version, alias, promotion.before)
    back = (
        f"; {options.prog} promote {options.job} --version {promotion.before} takes it back" if promotion.before else ""
    )
    terminal.write([f"{version} is {alias} now{back}."])
    return ExitCode.DONE
