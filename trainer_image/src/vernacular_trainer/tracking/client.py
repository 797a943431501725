"""A client of the tracking server that gives up quickly: whoever calls it decides whether to wait or to carry on.

By default the MLflow client blocks for four minutes per call when its server is away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vernacular_trainer.contract import TRACKING_CREDENTIAL_KEYS, JobIdentity, TrackingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG_PREFIX = "vernacular.dev/"
_REFUSALS = (401, 403)
_TRY_AGAIN = (408, 429)


def connect(tracking: TrackingConfig, timeout_seconds: int = 5) -> MlflowClient:
    """A client for the server of `tracking`, with the credentials of its mounted Secret.

    MLflow takes credentials and limits only from the environment of the process, so this sets it, and the most patient
    of the clients of one process sets the limit for all. Nothing is sent yet.
    """
    patience = max(timeout_seconds, int(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", 0)))
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(patience)
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for key, value in read_credentials(tracking).items():
        os.environ[key] = value
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)


def read_credentials(tracking: TrackingConfig) -> dict[str, str]:
    """The keys that the mounted Secret holds, of those that MLflow knows; empty when there is no Secret."""
    if not tracking.credentials_path:
        return {}
    folder = Path(tracking.credentials_path)
    return {key: (folder / key).read_text().strip() for key in TRACKING_CREDENTIAL_KEYS if (folder / key).is_file()}


def refused(error: Exception) -> bool:
    """Whether the server answered 401 or 403: these credentials will never do."""
    return _status(error) in _REFUSALS


def rejected(error: Exception) -> bool:
    """Whether the server answered 400: what it was told to write cannot be written by anybody."""
    return _status(error) == 400


def away(error: Exception) -> bool:
    """Whether the server did not answer, or answered that it cannot now: worth another try."""
    status = _status(error)
    return status >= 500 or status in _TRY_AGAIN


def _status(error: Exception) -> int:
    """The HTTP status behind an error of the client; 500 when there was no answer, 0 for errors of other origin."""
    get_code = getattr(error, "get_http_status_code", None)
    return int(get_code()) if get_code else 0


def find_run(client: MlflowClient, experiment_id: str, uid: str) -> str:
    """Id of the run of the job with this uid, "" when there is none. Raises what MLflow raises."""
    found = client.search_runs([experiment_id], f"tags.`{TAG_PREFIX}uid` = '{uid}'", max_results=1)
    return str(found[0].info.run_id) if found else ""


def identity_tags(identity: JobIdentity) -> dict[str, str]:
    """Tags that lead from an MLflow object back to the resource."""
    tags = {"namespace": identity.namespace, "name": identity.name, "uid": identity.uid, "cluster": identity.cluster}
    return {TAG_PREFIX + key: value for key, value in tags.items() if value}
