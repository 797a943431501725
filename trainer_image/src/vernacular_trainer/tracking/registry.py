"""The registered model and its versions."""

from __future__ import annotations

from typing import Any

from vernacular_trainer.contract import PublishConfig
from vernacular_trainer.tracking.rights import ensure_registered_model


def register_version(
    client: Any, publish: PublishConfig, run_id: str, kind: str, tags: dict[str, str], description: str
) -> str:
    """Number of the version that holds the artifacts `kind` of a run: the one there is, or a new one.

    The alias points to it afterwards. Raises what MLflow raises.
    """
    name = publish.registered_model
    ensure_registered_model(client, name, {})
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = str(found[0].version) if found else _create(client, name, run_id, kind)
    client.update_model_version(name, version, description)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, publish.alias, version)
    return version


def _create(client: Any, name: str, run_id: str, kind: str) -> str:
    return str(client.create_model_version(name, source=f"runs:/{run_id}/{kind}", run_id=run_id).version)
