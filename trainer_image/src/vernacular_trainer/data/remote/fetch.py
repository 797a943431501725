"""From what a user named on a server to copies in the workspace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vernacular_trainer.contract import FileSource, HttpsConfig, StageFailure
from vernacular_trainer.data.files import InputCopy, copy_input, take_over, write_json
from vernacular_trainer.data.model_cache import SOURCE_FILE, shared_entry
from vernacular_trainer.data.remote import https, hub, runs, s3
from vernacular_trainer.data.remote.files import Access, Listing, RemoteFile, is_data_file
from vernacular_trainer.workspace import Workspace


@dataclass(frozen=True)
class Servers:
    """What holds for all sources of a job: where https:// may lead, whose runs mlflow:// may read (None: there is no
    MLflow server), and the folder that jobs share for what is fetched ("" when there is none).
    """

    https: HttpsConfig = field(default_factory=HttpsConfig)
    tracking: runs.Tracking | None = None
    cache: str = ""


NO_SERVERS = Servers()


def list_source(source: FileSource, missing: StageFailure, servers: Servers) -> Listing:
    """The files that a source stands for. Raises StageError."""
    access = Access.of_file(source, missing)
    if source.uri.startswith(https.SCHEME):
        return https.list_source(access, servers.https)
    if source.uri.startswith(runs.SCHEME):
        assert servers.tracking
        return runs.list_source(access, servers.tracking)
    if source.uri.startswith(hub.SCHEME):
        return hub.list_source(access, is_data_file)
    return s3.list_source(access, is_data_file, servers.https)


def fetch(file: RemoteFile, target: Path, workspace: Workspace, cache: str = "") -> InputCopy:
    """A copy of a file; one that broke off in an earlier attempt is continued. With a `cache` it is fetched once for
    all jobs that may read it, if its server tells versions apart. Raises StageError.
    """
    name = hashlib.sha256(file.name.encode()).hexdigest()[:32]
    if cache and file.version:
        # the entry may be there because another job was allowed to read the file
        file.authorise()
        folder = shared_entry(cache, "datasets", name, file.version, partial(_fill, file))
    else:
        folder = workspace.downloads / name
        file.fetch(folder)
    return take_over(folder / file.path, file.name, target)


def _fill(file: RemoteFile, folder: Path) -> None:
    # before the file, which wins should it have this name
    write_json(folder / SOURCE_FILE, {"uri": file.name, "endpoint": file.endpoint, "version": file.version})
    file.fetch(folder)


def copy_one(
    source: FileSource, target: Path, unreadable: StageFailure, workspace: Workspace, servers: Servers = NO_SERVERS
) -> InputCopy:
    """A copy of a source that is one file. Raises StageError, `unreadable` also when there is no such file."""
    if not source.uri:
        return copy_input(source, target, unreadable, unreadable)
    (file,) = list_source(source, unreadable, servers).files
    return fetch(file, target, workspace, servers.cache)
