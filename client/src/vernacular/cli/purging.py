"""What is left of a job in a cluster and in MLflow, and what of it this command line can remove. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.commands import Commands
from vernacular.cli.localfiles import named_sources
from vernacular.cli.registry import Version
from vernacular.cli.runs import Run
from vernacular.cli.screens.values import pick

Json = Mapping[str, Any]

_PROXIED = "mlflow-artifacts:/"
_BY_SUBMIT = ("app.kubernetes.io/created-by", "vernacular-cli")


@dataclass(frozen=True)
class Left:
    """Something that this command cannot remove, why, and how a person can."""

    what: str
    how: str


@dataclass(frozen=True)
class Remains:
    """Everything that is left of one job. `claims` and `config_maps` are those that are the job's alone.

    `unnamed`: ConfigMaps that `submit` made and no job names. `others`: runs of the same name that are not of this job.
    """

    name: str
    namespace: str
    job: Json | None
    claims: tuple[str, ...]
    config_maps: tuple[str, ...]
    runs: tuple[Run, ...]
    versions: tuple[Version, ...]
    unnamed: tuple[str, ...]
    others: tuple[Run, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing of the job is left that could be removed."""
        return not (self.job or self.claims or self.config_maps or self.runs or self.versions)


def own_config_maps(job: Json, others: Sequence[Json], config_maps: Sequence[Json]) -> tuple[str, ...]:
    """ConfigMaps with rows that `submit` has made for this job, and that no other job names."""
    return tuple(sorted(set(unnamed_config_maps(others, config_maps)) & set(_named(job.get("spec")))))


def unnamed_config_maps(jobs: Sequence[Json], config_maps: Sequence[Json]) -> tuple[str, ...]:
    """ConfigMaps with rows that `submit` has made, and that none of these jobs names."""
    key, value = _BY_SUBMIT
    made = {item["metadata"]["name"] for item in config_maps if (pick(item, "metadata.labels") or {}).get(key) == value}
    return tuple(sorted(made - {name for job in jobs for name in _named(job.get("spec"))}))


def elsewhere(job: Json, found: Sequence[Run], address: str) -> tuple[str, str]:
    """Why MLflow at `address`, which has these runs of the job, is not the one that it was published to, and what to
    do; empty when it may be.
    """
    run_id, url = pick(job, "status.mlflow.runID"), pick(job, "status.mlflow.url") or ""
    if not run_id or run_id in {run.run_id for run in found}:
        return "", ""
    home = url.partition("/#/")[0]
    problem = f"MLflow at {address} has no run {run_id} of {job['metadata']['name']}, so that nothing was removed"
    if home and home != address:
        return problem, f"the job was published to {home}: name it with --mlflow, or an address that leads there"
    return problem, "when somebody has removed the run for good, delete the job with the verb delete"


def artifact_path(run: Run) -> str:
    """Where MLflow's own store has the artifacts of a run, "" when another store has them."""
    return run.artifact_uri.removeprefix(_PROXIED).lstrip("/") if run.artifact_uri.startswith(_PROXIED) else ""


def removable(remains: Remains) -> list[str]:
    """What is removed, in the order in which it is."""
    lines = [f"FineTuneJob {remains.name} of namespace {remains.namespace}"] if remains.job else []
    lines += [f"claim {claim}, with checkpoints and rows" for claim in remains.claims]
    lines += [f"ConfigMap {name}, with rows" for name in remains.config_maps]
    for version in remains.versions:
        aliases = f", which {' and '.join(version.aliases)} points to" if version.aliases else ""
        lines.append(f"{version.model} version {version.number}{aliases}")
    for run in remains.runs:
        lines += [f"artifacts of run {run.run_id}"] if artifact_path(run) else []
        lines += [] if run.deleted else [f"run {run.run_id}" if remains.job else f"run {run.described}"]
    return lines


def again(name: str, uid: str, address: str, commands: Commands) -> str:
    """The command that purges what is left of a job whose resource is gone."""
    return commands.own("purge", name, uid=uid, mlflow=address)


def beyond(remains: Remains, schema: Json, address: str, commands: Commands) -> list[Left]:
    """What nobody can remove from here, or nobody has asked to; `schema` is that of the resource, `address` that of
    MLflow.
    """
    left = [
        Left(f"artifacts of run {run.run_id} in {run.artifact_uri}", "delete this folder in its store")
        for run in remains.runs
        if not artifact_path(run)
    ]
    if remains.runs:
        ids = ",".join(run.run_id for run in remains.runs)
        how = f"on the machine of MLflow's server: mlflow gc --backend-store-uri DATABASE --run-ids {ids}"
        left.append(Left("the runs stay in MLflow's trash, with names, settings and metrics, but no rows", how))
    if remains.job and (claim := pick(remains.job, "spec.storage.workspace.claimName")):
        folder = remains.job["metadata"]["uid"]
        left.append(Left(f"folder {folder} on the claim {claim}, which is yours", "delete the folder from a pod"))
    if remains.job:
        left += _sources(remains.job, remains.config_maps, schema, commands)
    else:
        left += _unknown(remains, commands)
    for uid in dict.fromkeys(run.uid for run in remains.others if run.uid):
        ids = "; ".join(run.described for run in remains.others if run.uid == uid)
        left.append(
            Left(f"what is of another job of this name: run {ids}", again(remains.name, uid, address, commands))
        )
    kept = "copies in backups of MLflow and of volumes, and in stores that keep old versions"
    return [*left, Left(kept, "ask who runs them")]


def _unknown(remains: Remains, commands: Commands) -> list[Left]:
    """What only the resource would have told."""
    left = []
    if remains.unnamed:
        how = commands.kubectl(["delete", "configmap", *remains.unnamed])
        names = ", ".join(remains.unnamed)
        left.append(Left(f"rows that submit stored and no job names, which may be of this one: ConfigMap {names}", how))
    what = "sources, claims and the model cache that the job named: without its resource nobody can know them"
    return [*left, Left(what, "look for the rows in the buckets, claims and ConfigMaps that its author uses")]


def _sources(job: Json, removed: Sequence[str], schema: Json, commands: Commands) -> list[Left]:
    left = []
    for source in named_sources(job, schema):
        name = pick(source, "configMap.name")
        if name and name not in removed:
            how = commands.kubectl(["delete", "configmap", name])
            left.append(Left(f"the rows in ConfigMap {name}: other jobs or people may need it", how))
        elif uri := source.get("uri"):
            left.append(Left(f"the rows in {uri}, where the job read them", "delete them there"))
    if cache := pick(job, "spec.storage.modelCache.claimName"):
        left.append(Left(f"what prepare keeps for all jobs on the claim {cache}", "delete its files from a pod"))
    return left


def _named(spec: Any) -> Iterator[str]:
    """Every ConfigMap that a spec names, also in fields that only a newer version knows."""
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            if key.startswith("configMap") and isinstance(value, Mapping) and isinstance(value.get("name"), str):
                yield value["name"]
            yield from _named(value)
    elif isinstance(spec, list):
        for item in spec:
            yield from _named(item)
