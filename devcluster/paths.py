"""Where everything lies: the repository, the caches and the state of each cluster."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

MAIN_CLUSTER = "dev"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Paths:
    repository: Path
    cache: Path

    @property
    def binaries(self) -> Path:
        return self.cache / "bin"

    @property
    def tools(self) -> Path:
        return self.cache / "tools"

    @property
    def uv_cache(self) -> Path:
        return self.cache / "uv"

    @property
    def images_file(self) -> Path:
        """images.json: name of an image → reference that a pod uses."""
        return self.cache / "images.json"

    @property
    def image_store(self) -> Path:
        """buildah's storage. On one file system with `node_images`: layers are shared by hard links."""
        return self.cache / "containers"

    @property
    def served_images(self) -> Path:
        return self.cache / "registry"

    @property
    def node_images(self) -> Path:
        return self.cache / "containerd"

    def cluster(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DevclusterError(f"cluster name {name!r}: use at most 40 lower-case letters, digits and hyphens")
        return self.cache / "clusters" / name

    def kubeconfig(self, name: str) -> Path:
        return self.cluster(name) / "admin.kubeconfig"


def from_environment(environment: dict[str, str] | None = None) -> Paths:
    values = dict(os.environ) if environment is None else environment
    home = values.get("XDG_CACHE_HOME") or f"{values.get('HOME', '/root')}/.cache"
    cache = values.get("CACHE_DIR") or f"{home}/vernacular"
    return Paths(repository=Path(__file__).resolve().parent.parent, cache=Path(cache).absolute())
