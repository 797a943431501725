"""`vernacular purge`."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.ending import UID_LABEL, await_end, living_pods, still_there
from vernacular.cli.cluster.identity import identity_of, of_this_cluster
from vernacular.cli.cluster.jobs import Jobs, open_jobs, refusals, unless_missing
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.mlflow import Mlflow, open_mlflow
from vernacular.cli.purging import (
    Left,
    Remains,
    again,
    artifact_path,
    beyond,
    elsewhere,
    own_config_maps,
    removable,
    unnamed_config_maps,
)
from vernacular.cli.registry import Registry
from vernacular.cli.runs import Run, Runs
from vernacular.cli.screens.layout import section
from vernacular.cli.terminal import Terminal, printable
from vernacular.cli.validation import job_schema

Json = dict[str, Any]
Step = tuple[str, Callable[[], None], str]


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Remove everything that is left of a job, and say what could not be."""
    jobs = open_jobs(options)
    job = _resource(jobs, options)
    mlflow = open_mlflow(options.mlflow, [job] if job else jobs.all())
    remains = _remains(jobs, options, job, mlflow)
    uids = _uids(options, job, remains.runs)
    # who may not see the pods is told so before anything is gone
    living_pods(jobs, uids)
    if remains.empty:
        raise CliError(
            f"nothing is left of a FineTuneJob {options.job} in namespace {jobs.namespace}",
            f"{jobs.commands.own('list')} shows those that there are",
        )
    terminal.write([printable(line) for line in _announced(remains, options.dry_run)])
    if options.dry_run:
        terminal.write(_told(beyond(remains, job_schema(), mlflow.address, jobs.commands), terminal))
        return ExitCode.DONE
    if not terminal.confirm_by(options.job, "This cannot be taken back.", options.yes):
        terminal.note("Nothing was removed.")
        return ExitCode.REFUSED
    if job:
        _unless_gone(lambda: jobs.delete(job))
    remains, failed = _ended(jobs, options, remains, mlflow, terminal)
    failed += [left for step in _steps(jobs, mlflow, remains) if (left := _done(step, terminal))]
    terminal.write(_told([*failed, *beyond(remains, job_schema(), mlflow.address, jobs.commands)], terminal))
    return ExitCode.REFUSED if failed else ExitCode.DONE


def _resource(jobs: Jobs, options: Namespace) -> Json | None:
    job = unless_missing(lambda: jobs.one(options.job))
    return job if job and options.uid in (None, job["metadata"]["uid"]) else None


def _remains(jobs: Jobs, options: Namespace, job: Json | None, mlflow: Mlflow) -> Remains:
    runs, registry = Runs(mlflow), Registry(mlflow)
    tagged = runs.tagged(trash=True, namespace=jobs.namespace, name=options.job)
    if uid := job["metadata"]["uid"] if job else options.uid:
        found = runs.tagged(trash=True, uid=uid)
    else:
        advice = "name the job that is meant with --uid UID"
        found = of_this_cluster(tagged, identity_of(jobs), advice, certain=True) if tagged else []
    problem, advice = elsewhere(job, found, mlflow.address) if job else ("", "")
    if problem:
        raise CliError(problem, advice)
    versions = tuple(version for item in found for version in registry.versions_of(item.run_id))
    claims = tuple(claim for uid in _uids(options, job, found) for claim in _claims(jobs, uid))
    own, unnamed = _config_maps(jobs, job)
    ids = {item.run_id for item in found}
    others = tuple(item for item in tagged if item.run_id not in ids and not item.deleted)
    return Remains(options.job, jobs.namespace, job, claims, own, tuple(found), versions, unnamed, others)


def _uids(options: Namespace, job: Json | None, found: Sequence[Run]) -> list[str]:
    known = [job["metadata"]["uid"] if job else options.uid, *(item.uid for item in found)]
    return list(dict.fromkeys(uid for uid in known if uid))


def _ended(
    jobs: Jobs, options: Namespace, remains: Remains, mlflow: Mlflow, terminal: Terminal
) -> tuple[Remains, list[Left]]:
    """What is left when nothing of the job runs any more; what was known before where that cannot be learned."""
    job = dict(remains.job) if remains.job else None
    uids = _uids(options, job, remains.runs)
    how = "; ".join(again(remains.name, uid, mlflow.address, jobs.commands) for uid in uids)
    try:
        look = partial(still_there, jobs, remains.name, uids)
        left = await_end(look, time.monotonic, time.sleep, lambda text: terminal.note(printable(text)))
        remains = _remains(jobs, options, job, mlflow)
    except CliError as error:
        return remains, [Left(f"what the job may have written since it was deleted: {error.message}", how)]
    return remains, [Left(f"{', '.join(left)}, and what is still written there", how)] if left else []


def _claims(jobs: Jobs, uid: str) -> list[str]:
    path = f"/api/v1/namespaces/{jobs.namespace}/persistentvolumeclaims"
    with refusals(jobs.namespace):
        found = jobs.client.get(path, labelSelector=f"{UID_LABEL}={uid}").get("items") or []
    return [item["metadata"]["name"] for item in found]


def _config_maps(jobs: Jobs, job: Json | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the job, and without a job those of nobody."""
    with refusals(jobs.namespace):
        found = jobs.client.get(f"/api/v1/namespaces/{jobs.namespace}/configmaps").get("items") or []
    present = jobs.all()
    if job is None:
        return (), unnamed_config_maps(present, found)
    others = [other for other in present if other["metadata"]["uid"] != job["metadata"]["uid"]]
    return own_config_maps(job, others, found), ()


def _announced(remains: Remains, dry_run: bool) -> list[str]:
    head = "Would be removed:" if dry_run else "To be removed:"
    return [head, *(f"  {line}" for line in removable(remains))]


def _steps(jobs: Jobs, mlflow: Mlflow, remains: Remains) -> Iterator[Step]:
    """What goes after the job, so that nothing writes any more; each with what a person would do instead."""
    registry, runs, core = Registry(mlflow), Runs(mlflow), f"/api/v1/namespaces/{remains.namespace}"
    for kind, plural, names in (
        ("claim", "persistentvolumeclaims", remains.claims),
        ("ConfigMap", "configmaps", remains.config_maps),
    ):
        for name in names:
            path = f"{core}/{plural}/{name}"
            how = jobs.commands.kubectl(["delete", plural.removesuffix("s"), name])
            yield f"{kind} {name}", partial(_unless_gone, partial(_delete, jobs, path)), how
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
    with refusals(jobs.namespace):
        jobs.client.delete(path, {"propagationPolicy": "Background"})


def _unless_gone(remove: Callable[[], object]) -> None:
    """What went meanwhile is gone as well, also when another has its name by now."""
    try:
        remove()
    except CliError as error:
        if not (isinstance(error.__cause__, ApiError) and error.__cause__.code in (404, 409)):
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
