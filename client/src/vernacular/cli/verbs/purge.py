"""`vernacular purge`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.jobs import Jobs, open_jobs, refusals, unless_missing
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.mlflow import Mlflow, open_mlflow
from vernacular.cli.purging import Left, Remains, artifact_path, beyond, own_config_maps, removable
from vernacular.cli.registry import Registry
from vernacular.cli.runs import Runs
from vernacular.cli.screens.layout import section
from vernacular.cli.terminal import Terminal, printable

Json = dict[str, Any]
Step = tuple[str, Callable[[], None], str]

_UID = "vernacular.dev/job-uid"


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Remove everything that is left of a job, and say what could not be."""
    jobs = open_jobs(options)
    job = unless_missing(lambda: jobs.one(options.job))
    mlflow = open_mlflow(options.mlflow, [job] if job else jobs.all())
    remains = _remains(jobs, options.job, job, mlflow)
    if remains.empty:
        raise CliError(
            f"nothing is left of a FineTuneJob {options.job} in namespace {jobs.namespace}",
            f"{jobs.commands.own('list')} shows those that there are",
        )
    terminal.write([printable(line) for line in _announced(remains, options.dry_run)])
    if options.dry_run:
        terminal.write(_told(beyond(remains, jobs.commands), terminal))
        return ExitCode.DONE
    if not terminal.confirm_by(options.job, "This cannot be taken back.", options.yes):
        terminal.note("Nothing was removed.")
        return ExitCode.REFUSED
    failed = [left for step in _steps(jobs, mlflow, remains) if (left := _done(step, terminal))]
    terminal.write(_told([*failed, *beyond(remains, jobs.commands)], terminal))
    return ExitCode.REFUSED if failed else ExitCode.DONE


def _remains(jobs: Jobs, name: str, job: Json | None, mlflow: Mlflow) -> Remains:
    runs = Runs(mlflow)
    if job:
        found = runs.tagged(trash=True, uid=job["metadata"]["uid"])
    else:
        found = runs.tagged(trash=True, namespace=jobs.namespace, name=name)
    uids = dict.fromkeys([*([job["metadata"]["uid"]] if job else []), *(item.uid for item in found if item.uid)])
    versions = [version for item in found for version in Registry(mlflow).versions_of(item.run_id)]
    claims = [claim for uid in uids for claim in _claims(jobs, uid)]
    return Remains(name, jobs.namespace, job, tuple(claims), _config_maps(jobs, job), tuple(found), tuple(versions))


def _claims(jobs: Jobs, uid: str) -> list[str]:
    path = f"/api/v1/namespaces/{jobs.namespace}/persistentvolumeclaims"
    with refusals(jobs.namespace):
        found = jobs.client.get(path, labelSelector=f"{_UID}={uid}").get("items") or []
    return [item["metadata"]["name"] for item in found]


def _config_maps(jobs: Jobs, job: Json | None) -> tuple[str, ...]:
    if job is None:
        return ()
    with refusals(jobs.namespace):
        found = jobs.client.get(f"/api/v1/namespaces/{jobs.namespace}/configmaps").get("items") or []
    others = [other for other in jobs.all() if other["metadata"]["uid"] != job["metadata"]["uid"]]
    return own_config_maps(job, others, found)


def _announced(remains: Remains, dry_run: bool) -> list[str]:
    head = "Would be removed:" if dry_run else "To be removed:"
    return [head, *(f"  {line}" for line in removable(remains))]


def _steps(jobs: Jobs, mlflow: Mlflow, remains: Remains) -> Iterator[Step]:
    """The job first, so that nothing writes any more; each with what a person would do instead."""
    registry, runs, core = Registry(mlflow), Runs(mlflow), f"/api/v1/namespaces/{remains.namespace}"
    if job := remains.job:
        again = jobs.commands.own("delete", remains.name)
        yield f"FineTuneJob {remains.name}", partial(jobs.delete, dict(job)), again
    for kind, plural, names in (
        ("claim", "persistentvolumeclaims", remains.claims),
        ("ConfigMap", "configmaps", remains.config_maps),
    ):
        for name in names:
            path = f"{core}/{plural}/{name}"
            how = jobs.commands.kubectl(["delete", plural.removesuffix("s"), name])
            yield f"{kind} {name}", partial(_delete, jobs, path), how
    for version in remains.versions:
        how = f"in MLflow's page of the model {version.model}"
        yield f"{version.model} version {version.number}", partial(registry.delete_version, version), how
    for model in dict.fromkeys(version.model for version in remains.versions):
        yield f"{model}", partial(_without_versions, registry, model), "in MLflow's page of the model"
    for item in remains.runs:
        if path := artifact_path(item):
            what, how = f"artifacts of run {item.run_id}", f"delete {item.artifact_uri} in the store of MLflow"
            yield what, partial(mlflow.delete_artifacts, path), how
        if not item.deleted:
            yield f"run {item.run_id}", partial(runs.delete, item.run_id), "in MLflow's page of the run"


def _delete(jobs: Jobs, path: str) -> None:
    """What went with the job meanwhile is gone as well."""
    try:
        with refusals(jobs.namespace):
            jobs.client.delete(path, {"propagationPolicy": "Background"})
    except CliError as error:
        if not (isinstance(error.__cause__, ApiError) and error.__cause__.code == 404):
            raise


def _without_versions(registry: Registry, model: str) -> None:
    if not registry.versions(model):
        registry.delete_model(model)


def _done(step: Step, terminal: Terminal) -> Left | None:
    what, remove, how = step
    try:
        remove()
    except CliError as error:
        return Left(f"{what}: {error.message}", how)
    return None


def _told(left: list[Left], terminal: Terminal) -> list[str]:
    lines = [line for item in left for line in (printable(item.what), f"  {printable(item.how)}")]
    return section("Not removed", lines, terminal.paint)
