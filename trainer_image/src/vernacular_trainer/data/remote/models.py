"""Models of hubs and buckets: which version there is, and all its files in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Protocol

from vernacular_trainer.contract import HttpsConfig, ModelConfig
from vernacular_trainer.data.remote import hub, s3
from vernacular_trainer.data.remote.files import Access, RemoteFile

# weights without pickles, and no code
_ALLOWED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "README.md", "LICENSE*")
_PARALLEL = 4


class RemoteModel(Protocol):
    """A model that prepare has to fetch. `repository` names it for all versions, also in paths."""

    @property
    def repository(self) -> str: ...

    def commit(self) -> str:
        """The version there is now, once the server has said that the job may read it. Raises StageError."""

    def download(self, commit: str, folder: Path) -> None:
        """Put the files of a version into the folder, going on with what is there already. Raises StageError."""


def remote_model(model: ModelConfig, allowed: HttpsConfig) -> RemoteModel | None:
    """How the model is fetched; None when it lies on a claim. `allowed`: servers of buckets on local addresses."""
    access = Access.of_model(model)
    if model.uri.startswith(hub.SCHEME):
        return HubModel(access)
    return BucketModel(access, allowed) if model.uri.startswith(s3.SCHEME) else None


@dataclass(frozen=True)
class HubModel:
    """A model of a hub; its version is a commit."""

    access: Access

    @property
    def repository(self) -> str:
        return self.access.uri.removeprefix(hub.SCHEME)

    def commit(self) -> str:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=hub.endpoint(), token=hub.token(self.access) or False)
        with hub.explained(self.access):
            commit = str(api.model_info(self.repository, revision=self.access.revision).sha)
        hub.authorise(self.access, self.repository, commit, "config.json", "model")
        return commit

    def download(self, commit: str, folder: Path) -> None:
        from huggingface_hub import snapshot_download

        with hub.explained(self.access):
            snapshot_download(
                self.repository,
                revision=commit,
                local_dir=folder,
                token=hub.token(self.access) or False,
                endpoint=hub.endpoint(),
                allow_patterns=list(_ALLOWED_FILES),
            )


@dataclass(frozen=True)
class BucketModel:
    """A model in a folder of a bucket; its version is a digest over the versions of its files."""

    access: Access
    allowed: HttpsConfig

    @property
    def repository(self) -> str:
        return self.access.uri.replace("://", "/").rstrip("/")

    def commit(self) -> str:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda file: file.authorise(), self._files))
        return hashlib.sha256("\n".join(file.version for file in self._files).encode()).hexdigest()[:40]

    def download(self, commit: str, folder: Path) -> None:
        names = {file.path for file in self._files}
        for stale in folder.glob("*"):
            if stale.is_file() and stale.name not in names:
                stale.unlink()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda file: file.fetch(folder), self._files))

    @cached_property
    def _files(self) -> Sequence[RemoteFile]:
        return s3.list_folder(self.access, _is_model_file, self.allowed, named=True).files


def _is_model_file(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in _ALLOWED_FILES) and "/" not in path
