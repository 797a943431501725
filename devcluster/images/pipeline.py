"""From sources to nodes: build what changed, publish its manifest, put its layers onto every running node."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from devcluster import tools
from devcluster.binaries import build as build_binaries
from devcluster.errors import DevclusterError
from devcluster.images import build as builder
from devcluster.images.seed import seed
from devcluster.images.server import publish
from devcluster.images.specs import INFRASTRUCTURE, PROJECT, Image, reference, tag
from devcluster.images.store import ImageStore, StoredImage
from devcluster.lock import exclusive
from devcluster.paths import Paths

PUSHED_FILE = "images-pushed.json"


class Pipeline:
    """`ctr` commands of the running nodes come from the caller; without any, images are built and published only."""

    def __init__(self, paths: Paths, environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._environment = environment
        self._store = ImageStore(builder.storage(paths))

    def ensure(self, images: Iterable[Image]) -> dict[str, str]:
        """Build and publish what is not there yet; returns name → reference, also recorded in images.json."""
        references = {}
        for image in images:
            with self._lock(image.name):
                references[image.name] = self._ensure(image)
        with self._lock("record"):
            self._record(references)
        return references

    def current(self) -> dict[str, str]:
        """Name → reference of the last build, of the images that are still in the store."""
        file, stored = self._paths.images_file, self._store.references()
        content: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return {name: value for name, value in content.items() if value in stored}

    def seed(self, references: Iterable[str], nodes: Sequence[Sequence[str]]) -> None:
        """Bring the layers of these images to the nodes, given as `ctr` command prefixes. Nodes work side by side."""
        stored = [self._store.load(each) for each in references]
        layers = [layer for image in stored for layer in image.layers]
        with self._lock("seed"), ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda ctr: seed(ctr, layers), nodes):
                pass

    def push(self, images: Iterable[Image], registry: str) -> dict[str, str]:
        """Build and push to a registry that other clusters can pull from; recorded in images-pushed.json."""
        pushed = {}
        for name, local in self.ensure(images).items():
            pushed[name] = f"{registry.rstrip('/')}/{name}:{local.rpartition(':')[2]}"
            print(f"pushing {pushed[name]}", flush=True)
            builder.push(self._paths, local, pushed[name])
        _write_json(self._paths.cache / PUSHED_FILE, pushed)
        return pushed

    def _lock(self, name: str) -> AbstractContextManager[None]:
        return exclusive(self._paths.cache / "locks" / f"image-{name}", f"another command builds {name}")

    def _ensure(self, image: Image) -> str:
        program = self._program(image)
        name = reference(image, tag(self._paths.repository, image, parts=self._parts(image, program)))
        if name not in self._store.references():
            started = time.monotonic()
            print(f"building image {image.name}", flush=True)
            if image.on_base:
                with self._lock("base"):
                    if builder.base_reference() not in self._store.references():
                        builder.build_base(self._paths, self._environment)
            builder.build(self._paths, image, name, program, self._environment)
            print(f"built image {image.name} in {time.monotonic() - started:.1f} s", flush=True)
        stored: StoredImage = self._store.load(name)
        publish(self._paths.served_images, image.name, name.rpartition(":")[2], stored.manifest, stored.config)
        return name

    def _program(self, image: Image) -> Path | None:
        if not image.program:
            return None
        if image.program == "catatonit":
            return _found("catatonit")
        return (build_binaries(self._paths, [image.program]) / image.program).resolve()

    def _parts(self, image: Image, program: Path | None) -> list[bytes]:
        if program is not None:
            return [program.read_bytes()]
        return [builder.base_key().encode(), tools.UV_VERSION.encode()]

    def _record(self, references: Mapping[str, str]) -> None:
        known = {image.name for image in (*INFRASTRUCTURE, *PROJECT)}
        kept = {name: value for name, value in self.current().items() if name in known}
        _write_json(self._paths.images_file, {**kept, **references})


def _found(program: str) -> Path:
    path = shutil.which(program)
    if path is None:
        raise DevclusterError(f"{program}: not found; run `python3 -m devcluster preflight`")
    return Path(path)


def _write_json(file: Path, content: Mapping[str, str]) -> None:
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    unfinished.rename(file)
