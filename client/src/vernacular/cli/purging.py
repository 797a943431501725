"""What is left of a job in a cluster and in MLflow, and what of it this command line can remove. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.commands import Commands
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
    """Everything that is left of one job. `claims` and `config_maps` are those that are the job's alone."""

    name: str
    namespace: str
    job: Json | None
    claims: tuple[str, ...]
    config_maps: tuple[str, ...]
    runs: tuple[Run, ...]
    versions: tuple[Version, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing of the job is left that could be removed."""
        return not (self.job or self.claims or self.config_maps or self.runs or self.versions)


def own_config_maps(job: Json, others: Sequence[Json], config_maps: Sequence[Json]) -> tuple[str, ...]:
    """ConfigMaps with rows that `submit` has made for this job, and that no other job names."""
    key, value = _BY_SUBMIT
    made = {item["metadata"]["name"] for item in config_maps if (pick(item, "metadata.labels") or {}).get(key) == value}
    taken = {name for other in others for name in _named(other)}
    return tuple(sorted((made & _named(job)) - taken))


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
        lines += [] if run.deleted else [f"run {run.run_id}"]
    return lines


def beyond(remains: Remains, commands: Commands) -> list[Left]:
    """What nobody can remove from here."""
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
        left += _sources(remains.job, remains.config_maps, commands)
    kept = "copies in backups of MLflow and of volumes, and in stores that keep old versions"
    return [*left, Left(kept, "ask who runs them")]


def _sources(job: Json, removed: Sequence[str], commands: Commands) -> list[Left]:
    left = []
    for source in _files(job):
        name = pick(source, "configMap.name")
        if name and name not in removed:
            how = commands.kubectl(["delete", "configmap", name])
            left.append(Left(f"the rows in ConfigMap {name}: other jobs or people may need it", how))
        elif uri := source.get("uri"):
            left.append(Left(f"the rows in {uri}, where the job read them", "delete them there"))
    if cache := pick(job, "spec.storage.modelCache.claimName"):
        left.append(Left(f"what prepare keeps for all jobs on the claim {cache}", "delete its files from a pod"))
    return left


def _files(job: Json) -> list[Json]:
    evaluation = pick(job, "spec.evaluation") or {}
    return [*(pick(job, "spec.dataset.train") or ()), *filter(None, map(evaluation.get, ("questions", "glossary")))]


def _named(job: Json) -> set[str]:
    return {name for source in _files(job) if (name := pick(source, "configMap.name"))}
