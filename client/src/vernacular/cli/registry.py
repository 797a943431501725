"""MLflow's registered models, over its REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.mlflow import TAG_PREFIX, MissingError, Mlflow
from vernacular.cli.screens.values import pick

Json = dict[str, Any]

REPLACED = TAG_PREFIX + "replaced-version"
# the tag of a version that replaced none: MLflow takes no empty tags
NOTHING = "none"


@dataclass(frozen=True)
class Reviewed:
    """What a person's review of a version came to, as its tags say."""

    verdict: str
    summary: str
    by: str
    at: str


@dataclass(frozen=True)
class Version:
    """One version of a registered model. `job` and `uid` are those of the FineTuneJob that made it, "" when none did.

    `replaced` is the version that it replaced when it was first promoted, "" when it never was. `review` is the newest,
    None when there was none.
    """

    model: str
    number: int
    aliases: tuple[str, ...]
    job: str
    created_ms: int
    replaced: str
    uid: str = ""
    run_id: str = ""
    review: Reviewed | None = None


class Registry:
    """The registered models of one MLflow server. Every method raises CliError."""

    def __init__(self, mlflow: Mlflow) -> None:
        self._mlflow = mlflow

    @property
    def address(self) -> str:
        """Address of the server."""
        return self._mlflow.address

    def models(self, prefix: str) -> list[str]:
        """Names of all models that begin so."""
        query = {"filter": f"name LIKE '{prefix}%'"} if prefix else {}
        return [item["name"] for item in self._mlflow.pages("registered-models/search", "registered_models", query)]

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, the newest first. Raises CliError when there is no such model."""
        document = self._mlflow.get("registered-models/get", {"name": model})
        aliases = pick(document, "registered_model.aliases") or []
        quote = '"' if "'" in model else "'"
        found = self._mlflow.pages(
            "model-versions/search", "model_versions", {"filter": f"name = {quote}{model}{quote}"}
        )
        return sorted((_version(item, aliases) for item in found), key=lambda version: -version.number)

    def versions_of(self, run_id: str) -> list[Version]:
        """Versions of any model that a run has made, with their aliases."""
        found = self._mlflow.pages("model-versions/search", "model_versions", {"filter": f"run_id = '{run_id}'"})
        models = dict.fromkeys(item["name"] for item in found)
        return [version for model in models for version in self.versions(model) if version.run_id == run_id]

    def delete_version(self, version: Version) -> None:
        """Remove a version; MLflow removes the aliases that point to it by then."""
        self._mlflow.delete("model-versions/delete", {"name": version.model, "version": str(version.number)})

    def delete_model(self, model: str) -> None:
        """Remove a registered model with all its versions."""
        self._mlflow.delete("registered-models/delete", {"name": model})

    def verdict(self, version: Version) -> str:
        """The verdict on a version, as its run keeps it; "" when there is none."""
        try:
            document = self._mlflow.get("runs/get", {"run_id": version.run_id}) if version.run_id else {}
        except MissingError:
            document = {}
        tags = pick(document, "run.data.tags") or ()
        return next((tag["value"] for tag in tags if tag["key"] == TAG_PREFIX + "verdict"), "")

    def promote(self, version: Version, alias: str, replaced: str) -> None:
        """Point an alias to a version, which keeps what it replaced at first, so that there is a way back."""
        own = {"name": version.model, "version": str(version.number)}
        if not version.replaced:
            self._mlflow.post("model-versions/set-tag", {**own, "key": REPLACED, "value": replaced or NOTHING})
        self._mlflow.post("registered-models/alias", {**own, "alias": alias})


def _version(item: Json, aliases: Sequence[Json]) -> Version:
    tags = {tag["key"]: tag["value"] for tag in item.get("tags") or ()}
    number = int(item["version"])
    return Version(
        item["name"],
        number,
        tuple(sorted(each["alias"] for each in aliases if int(each["version"]) == number)),
        tags.get(TAG_PREFIX + "name", ""),
        int(item.get("creation_timestamp") or 0),
        tags.get(REPLACED, ""),
        tags.get(TAG_PREFIX + "uid", ""),
        item.get("run_id") or "",
        _review(tags),
    )


def _review(tags: Mapping[str, str]) -> Reviewed | None:
    verdict, summary, by, at = (tags.get(f"{TAG_PREFIX}review-{key}", "") for key in ("verdict", "summary", "by", "at"))
    return Reviewed(verdict, summary, by, at) if verdict else None
