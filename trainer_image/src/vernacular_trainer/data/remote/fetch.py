"""From what a user named on a server to copies in the workspace."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vernacular_trainer.contract import FileSource, HttpsConfig, StageFailure
from vernacular_trainer.data.cache_room import in_use, make_room
from vernacular_trainer.data.files import InputCopy, copy_input, take_over, write_json
from vernacular_trainer.data.model_cache import SOURCE_FILE, ModelCache, shared_entry, writable
from vernacular_trainer.data.remote import https, hub, runs, s3
from vernacular_trainer.data.remote.files import Access, Listing, RemoteFile, is_data_file
from vernacular_trainer.workspace import Workspace


@dataclass(frozen=True)
class Servers:
    """What holds for all sources of a job: where https:// may lead, whose runs mlflow:// may read (None: there is no
    MLflow server), and the folder that jobs share for what is fetched ("" when there is none). Beyond `cache_gib` the
    files there that were not used for longest are removed; 0: none is.
    """

    https: HttpsConfig = field(default_factory=HttpsConfig)
    tracking: runs.Tracking | None = None
    cache: str = ""
    cache_gib: int = 0


NO_SERVERS = Servers()
_KIND = "datasets"
_GIB = 2**30
_TRIES = 5


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


def fetch(file: RemoteFile, target: Path, workspace: Workspace, servers: Servers = NO_SERVERS) -> InputCopy:
    """A copy of a file; one that broke off in an earlier attempt is continued. With a cache it is fetched once for all
    jobs that may read it, if its server tells versions apart. Raises StageError.
    """
    name = hashlib.sha256(file.name.encode()).hexdigest()[:32]
    if servers.cache and file.version:
        # the entry may be there because another job was allowed to read the file
        file.authorise()
        return _through_cache(file, name, target, servers)
    folder = workspace.downloads / name
    file.fetch(folder)
    return take_over(folder / file.path, file.name, target)


def _through_cache(file: RemoteFile, name: str, target: Path, servers: Servers) -> InputCopy:
    place = ModelCache(Path(servers.cache), kind=_KIND).place(name, file.version)
    with writable(servers.cache), in_use(place):
        copy = _taken(file, name, target, servers.cache)
    if servers.cache_gib:
        make_room(Path(servers.cache) / _KIND, servers.cache_gib * _GIB)
    return copy


def _taken(file: RemoteFile, name: str, target: Path, cache: str) -> InputCopy:
    def take() -> InputCopy:
        folder = shared_entry(cache, _KIND, name, file.version, partial(_fill, file))
        return take_over(folder / file.path, file.name, target)

    for _ in range(_TRIES - 1):
        # jobs that looked for what nobody uses before this one began may remove it between two looks
        with contextlib.suppress(FileNotFoundError):
            return take()
    return take()


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
    return fetch(file, target, workspace, servers)
