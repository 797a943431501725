"""Reading buildah's image store: manifests, configurations and where the files of each layer lie."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.errors import DevclusterError


@dataclass(frozen=True)
class Layer:
    """`chain` is the name that containerd gives the snapshot of this layer on top of its parents."""

    chain: str
    parent: str
    files: Path


@dataclass(frozen=True)
class StoredImage:
    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The OCI image specification's ChainID of every layer, from the bottom up."""
    chains: list[str] = []
    for diff_id in diff_ids:
        text = f"{chains[-1]} {diff_id}" if chains else ""
        chains.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if text else diff_id)
    return chains


class ImageStore:
    """The folder that `buildah --root` names, with its overlay driver."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def references(self) -> set[str]:
        return {name for image in self._read("overlay-images/images.json") for name in image.get("names") or []}

    def load(self, reference: str) -> StoredImage:
        """Raises DevclusterError when there is no such image or its layers do not match its configuration."""
        records = self._read("overlay-images/images.json")
        images = [image for image in records if reference in (image.get("names") or [])]
        if not images:
            raise DevclusterError(f"image {reference} is not in the store {self._root}")
        folder = self._root / "overlay-images" / images[0]["id"]
        manifest = (folder / "manifest").read_bytes()
        config_key = base64.b64encode(json.loads(manifest)["config"]["digest"].encode()).decode()
        config = (folder / f"={config_key}").read_bytes()
        layers = self._layers(images[0].get("layer", ""), json.loads(config)["rootfs"]["diff_ids"])
        return StoredImage(manifest, config, layers)

    def _layers(self, top: str, diff_ids: list[str]) -> tuple[Layer, ...]:
        records = {layer["id"]: layer for layer in self._read("overlay-layers/layers.json")}
        below: list[dict[str, Any]] = []
        while top:
            below.insert(0, records[top])
            top = records[top].get("parent", "")
        if [layer["diff-digest"] for layer in below] != diff_ids:
            raise DevclusterError(f"the layers in {self._root} do not match their image; delete that folder")
        chains = chain_ids(diff_ids)
        parents = ["", *chains[:-1]]
        folders = [self._root / "overlay" / layer["id"] / "diff" for layer in below]
        return tuple(Layer(*each) for each in zip(chains, parents, folders, strict=True))

    def _read(self, name: str) -> list[dict[str, Any]]:
        file = self._root / name
        content: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return content
