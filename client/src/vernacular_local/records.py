"""The run of a job on this machine, in an MLflow server or in a file of the work folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vernacular_trainer.contract import JobConfig
from vernacular_trainer.tracking.client import connect, identity_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient


def local_tracking(folder: Path) -> str:
    """Address of the MLflow that is a file of the work folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def open_run(config: JobConfig, run_id: str, folder: Path) -> str:
    """The id of the job's run, which is running from now on: the one there is, or a new one.

    Raises what MLflow raises.
    """
    # a new file is migrated step by step, which nobody needs to read
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = connect(config.tracking, timeout_seconds=30)
    if run_id:
        client.update_run(run_id, status="RUNNING")
        return run_id
    experiment = _experiment(client, config.tracking.experiment, config.tracking.uri, folder)
    name, tags = config.identity.name, identity_tags(config.identity)
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)


def close_run(config: JobConfig, run_id: str, status: str) -> None:
    """End the run: FINISHED, FAILED, or KILLED for one that may go on. Raises what MLflow raises."""
    connect(config.tracking, timeout_seconds=30).set_terminated(run_id, status)


def _experiment(client: MlflowClient, name: str, uri: str, folder: Path) -> str:
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    # a file has no server that would keep artifacts beside it
    location = None if uri.startswith("http") else (folder / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))
