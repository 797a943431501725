"""Files of MLflow runs: read with the job's own login, and only from runs of its namespace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vernacular_trainer.contract import StageFailure, TrackingConfig
from vernacular_trainer.data.remote.files import Access, Listing, RemoteFile
from vernacular_trainer.errors import StageError
from vernacular_trainer.tracking.client import TAG_PREFIX, away, connect, refused

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEME = "mlflow://"
_RUNS = f"{SCHEME}runs/"
_NAMESPACE = f"{TAG_PREFIX}namespace"
_FILE = "content"
# of one request; files of rows come in one
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Tracking:
    """The server with the job's login, and the namespace whose runs the job may read."""

    server: TrackingConfig
    namespace: str


def list_source(access: Access, tracking: Tracking) -> Listing:
    """The file of the uri, mlflow://runs/RUN/PATH.

    Raises StageError: `access.missing`, `access.denied`, SourceNotAllowed, SourceUnavailable.
    """
    run_id, _, path = access.uri.removeprefix(_RUNS).partition("/")
    client = connect(tracking.server, _TIMEOUT_SECONDS)
    with _explained(access, tracking.server):
        run = client.get_run(run_id)
        owner = run.data.tags.get(_NAMESPACE) or _experiment_tag(client, run.info.experiment_id)
        found = {item.path: item for item in client.list_artifacts(run_id, path.rpartition("/")[0] or None)}
    if run.info.lifecycle_stage == "deleted":
        raise StageError(access.missing, f"the run of {access.uri} is deleted", "restore it in MLflow, or name another")
    if owner != tracking.namespace:
        message = f"the run of {access.uri} is none of the namespace {tracking.namespace}"
        advice = f"let who owns the run give it the tag {_NAMESPACE}: {tracking.namespace} in MLflow"
        raise StageError(StageFailure.SOURCE_NOT_ALLOWED, message, advice)
    if path not in found or found[path].is_dir:
        listed = ", ".join(sorted(found)[:5])
        message = f"{access.uri} does not exist" if path not in found else f"{access.uri} is a folder"
        advice = f"write one of its files: {listed}" if listed else "write the path of a file as MLflow shows it"
        raise StageError(access.missing, message, advice)
    fetch = partial(_fetch, access, tracking.server, run_id, found[path])
    # artifacts can be written over, and MLflow does not say so: without a version nothing is shared
    return Listing((RemoteFile(access.uri, _FILE, "", tracking.server.uri, lambda: None, fetch),))


def _fetch(access: Access, server: TrackingConfig, run_id: str, artifact: Any, folder: Path) -> None:
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    with _explained(access, server):
        local = download_artifacts(
            run_id=run_id, artifact_path=artifact.path, dst_path=str(folder), tracking_uri=server.uri
        )
    size = Path(local).stat().st_size
    if artifact.file_size is not None and size != artifact.file_size:
        raise _unavailable(access, server, f"{size} of {artifact.file_size} bytes")
    Path(local).replace(folder / _FILE)


def _experiment_tag(client: MlflowClient, experiment_id: str) -> str:
    return str(client.get_experiment(experiment_id).tags.get(_NAMESPACE, ""))


@contextlib.contextmanager
def _explained(access: Access, server: TrackingConfig) -> Iterator[None]:
    """What MLflow refuses is a StageError; an error of the workspace stays what it is."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if refused(error) or status in (401, 403):
            secret = server.credentials_name
            who = f"with the login of the Secret {secret}" if secret else "without a login"
            advice = "name a Secret whose user may read the run in tracking.mlflow.credentialsSecretName"
            raise StageError(access.denied, f"{access.uri} may not be read {who}", advice) from None
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST" or status == 404:
            message = f"{access.uri} does not exist at {server.uri}"
            raise StageError(access.missing, message, "check the id of the run and the path") from None
        if away(error) or isinstance(error, RequestException):
            raise _unavailable(access, server, type(error).__name__) from None
        raise


def _unavailable(access: Access, server: TrackingConfig, evidence: str) -> StageError:
    message = f"{access.uri} cannot be read from {server.uri} now"
    advice = "it is tried again; if it stays, check that MLflow runs and that prepare pods may reach it"
    return StageError(StageFailure.SOURCE_UNAVAILABLE, message, advice, evidence)
