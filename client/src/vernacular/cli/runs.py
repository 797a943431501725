"""MLflow's runs of jobs, over its REST API."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vernacular.cli.mlflow import TAG_PREFIX, MissingError, Mlflow

Json = dict[str, Any]
Curve = tuple[tuple[int, float], ...]

_PAGE = 1000
# points of one request, as many as MLflow gives
_POINTS = 25_000


@dataclass(frozen=True)
class Run:
    """One run. `job`, `namespace` and `uid` are those of the FineTuneJob that it belongs to, "" for other runs.

    Times in milliseconds since 1970, `ended_ms` 0 while it runs.
    """

    run_id: str
    job: str
    namespace: str
    uid: str
    status: str
    started_ms: int
    ended_ms: int
    artifact_uri: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    deleted: bool = False

    @property
    def cluster(self) -> str:
        """What the operator calls the cluster of the job, "" when it does not know."""
        return self.tags.get(TAG_PREFIX + "cluster", "")

    @property
    def described(self) -> str:
        """What tells it from other runs, for a person; the day in UTC."""
        day = datetime.fromtimestamp(self.started_ms / 1000, UTC).date()
        return f"{self.run_id}, uid {self.uid or 'unknown'}, cluster {self.cluster or 'unknown'}, of {day}"


class Runs:
    """The runs of one MLflow server. Every method raises CliError."""

    def __init__(self, mlflow: Mlflow) -> None:
        self._mlflow = mlflow

    def one(self, run_id: str) -> Run | None:
        """A run by its id; None when there is none."""
        try:
            return _run(self._mlflow.get("runs/get", {"run_id": run_id})["run"])
        except MissingError:
            return None

    def tagged(self, *, trash: bool = False, **tags: str) -> list[Run]:
        """Runs of jobs with these tags, like namespace or name, the newest first; of all jobs when none are given.

        `trash`: deleted ones too, and those of deleted experiments.
        """
        wanted = [f"tags.`{TAG_PREFIX}{name}` = '{value}'" for name, value in tags.items()]
        condition = " and ".join(wanted or [f"tags.`{TAG_PREFIX}uid` LIKE '%'"])
        view = "ALL" if trash else "ACTIVE_ONLY"
        searched = {"view_type": view}
        experiments = self._mlflow.pages("experiments/search", "experiments", searched, searches=True, size=_PAGE)
        query = {"experiment_ids": [item["experiment_id"] for item in experiments], "filter": condition}
        query["run_view_type"] = view
        found = self._mlflow.pages("runs/search", "runs", query, searches=True, size=_PAGE)
        return sorted((_run(item) for item in found), key=lambda run: -run.started_ms)

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """Paths of the artifacts in a folder of a run; empty when they cannot be listed."""
        try:
            document = self._mlflow.get("artifacts/list", {"run_id": run_id, "path": folder})
        except MissingError:
            return []
        return [item["path"] for item in document.get("files") or ()]

    def artifact(self, run_id: str, path: str) -> str:
        """The text of an artifact."""
        return self._mlflow.artifact(run_id, path)

    def delete(self, run_id: str) -> None:
        """Move a run to MLflow's trash; one that is there already stays there."""
        self._mlflow.post("runs/delete", {"run_id": run_id})

    def course(self, run_id: str, metric: str) -> Curve:
        """Every finite value of a metric with its step; empty when it was never measured."""
        query = {"run_id": run_id, "metric_key": metric}
        points = self._mlflow.pages("metrics/get-history", "metrics", query, size=_POINTS)
        # a training that went on from a checkpoint repeats steps: the last value counts
        ordered = sorted(points, key=lambda point: int(point["timestamp"]))
        values = {int(point["step"]): float(point["value"]) for point in ordered}
        return tuple(sorted((step, value) for step, value in values.items() if math.isfinite(value)))


def _run(document: Json) -> Run:
    info, data = document["info"], document.get("data") or {}
    tags = {tag["key"]: tag["value"] for tag in data.get("tags") or ()}
    return Run(
        info["run_id"],
        tags.get(TAG_PREFIX + "name", ""),
        tags.get(TAG_PREFIX + "namespace", ""),
        tags.get(TAG_PREFIX + "uid", ""),
        info.get("status") or "",
        int(info.get("start_time") or 0),
        int(info.get("end_time") or 0),
        info.get("artifact_uri") or "",
        {item["key"]: item["value"] for item in data.get("params") or ()},
        {item["key"]: float(item["value"]) for item in data.get("metrics") or ()},
        tags,
        info.get("lifecycle_stage") == "deleted",
    )
