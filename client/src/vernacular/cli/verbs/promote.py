"""`vernacular promote`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import ExitCode
from vernacular.cli.mlflow import open_mlflow
from vernacular.cli.promoting import alias_of, choose, decide, is_own, model_of
from vernacular.cli.registry import Registry
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Point the alias that serving reads to a version of the job's model."""
    jobs = open_jobs(options)
    job = jobs.one(options.job)
    model, alias = model_of(job, options.version, jobs.commands), alias_of(job, options.alias)
    registry = Registry(open_mlflow(options.mlflow, [job]))
    versions = registry.versions(model)
    chosen = choose(job, versions, options.version, registry.address)
    verdict = "" if is_own(job, chosen) else registry.verdict(chosen)
    promotion = decide(job, versions, chosen, alias, verdict, force=options.force)
    version = f"{model} version {chosen.number}"
    if promotion.needless:
        terminal.write([f"{version} is {alias} already."])
        return ExitCode.DONE
    if promotion.doubt and not terminal.confirm(promotion.doubt, options.yes):
        terminal.note("Nothing was changed.")
        return ExitCode.REFUSED
    registry.promote(chosen, alias, promotion.before)
    flags = {"version": promotion.before, "alias": options.alias, "mlflow": options.mlflow}
    back = f"; {jobs.commands.own('promote', options.job, **flags)} takes it back" if promotion.before else ""
    terminal.write([f"{version} is {alias} now{back}."])
    return ExitCode.DONE
