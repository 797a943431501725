"""The registered model and its versions."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import PublishConfig
from vernacular_trainer.tracking.client import TAG_PREFIX, away
from vernacular_trainer.tracking.rights import ensure_registered_model

log = logging.getLogger(__name__)


def register_version(
    client: Any, publish: PublishConfig, run_id: str, kind: str, tags: dict[str, str], description: str
) -> str:
    """Number of the version that holds the artifacts `kind` of a run: the one there is, or a new one.

    The alias points to it afterwards. Raises StageError (ArgumentRefused) when the model is another namespace's, and
    what MLflow raises.
    """
    name = publish.registered_model
    ensure_registered_model(client, name, tags[TAG_PREFIX + "namespace"])
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = str(found[0].version) if found else _create(client, name, run_id, kind)
    client.update_model_version(name, version, description)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    if not _is_newer(str(client.get_registered_model(name).aliases.get(publish.alias, "")), version):
        client.set_registered_model_alias(name, publish.alias, version)
    return version


def version_before(client: Any, name: str, run_id: str) -> Any | None:
    """The newest version that another run made before this run's own; None when there is none."""
    found = client.search_model_versions(f"name = '{name}'")
    own = [int(item.version) for item in found if item.run_id == run_id]
    earlier = [item for item in found if item.run_id != run_id and (not own or int(item.version) < min(own))]
    return max(earlier, key=lambda item: int(item.version), default=None)


def read_artifact(client: Any, run_id: str, path: str) -> str | None:
    """A text among the artifacts of another run; None when it is not there, or may not be read.

    Raises what MLflow raises when it is away.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            # the download alone says of every failure that there is no such file
            present = {item.path for item in client.list_artifacts(run_id, path.rpartition("/")[0] or None)}
            if path not in present:
                return None
            return Path(client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")
        except Exception as error:
            if away(error):
                raise
            log.warning("%s of run %s cannot be read: %s", path, run_id, type(error).__name__)
            return None


# the tag of a version that replaced none: MLflow takes no empty tags
_NOTHING = "none"


@dataclass(frozen=True)
class Promotion:
    """Whether a version was promoted, and which one had the alias before ("" when none had)."""

    done: bool
    replaced: str = ""


def promote(client: Any, name: str, alias: str, version: str) -> Promotion:
    """Point the alias to the version, which keeps as a tag what it replaced, so that there is a way back.

    Raises what MLflow raises.
    """
    tag = TAG_PREFIX + "replaced-version"
    present = str(client.get_registered_model(name).aliases.get(alias, ""))
    replaced = client.get_model_version(name, version).tags.get(tag)
    if replaced is None:
        replaced = present or _NOTHING
        client.set_model_version_tag(name, version, tag, replaced)
    if not _is_newer(present, version):
        client.set_registered_model_alias(name, alias, version)
    return Promotion(done=True, replaced="" if replaced == _NOTHING else replaced)


def _is_newer(present: str, version: str) -> bool:
    """Whether an alias went on to a newer version, while this one was being published."""
    return bool(present) and int(present) > int(version)


def _create(client: Any, name: str, run_id: str, kind: str) -> str:
    return str(client.create_model_version(name, source=f"runs:/{run_id}/{kind}", run_id=run_id).version)
