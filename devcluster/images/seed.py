"""Layers reach a node as hard links to buildah's own files: no traffic, no compression, no second copy on disk.

A layer of an image is never written to, neither by buildah nor by containerd, so both can share its files. The kubelet
still pulls every image by its reference: containerd fetches manifest and configuration from the image server, finds all
layers unpacked, and is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.images.store import Layer
from devcluster.shell import run

# A running buildah mounts its layer folder onto itself, and no hard link crosses a mount: undone in its own namespace.
# Folders are made anew with owner, mode, times and overlay marks; files are shared.
_LINK = 'while umount --lazy "$1" 2>/dev/null; do :; done; exec cp --archive --link "$2/." "$3"'
_SOURCE = re.compile(r"upperdir=([^,\s]+)")
_BIND = re.compile(r"^mount -t bind (\S+) ", re.MULTILINE)


def seed(ctr: Sequence[str], layers: Iterable[Layer]) -> int:
    """Make the missing snapshots of these layers on the node that `ctr` talks to; returns how many were missing."""
    listing = run([*ctr, "snapshots", "list"]).splitlines()[1:]
    present = {line.split()[0] for line in listing if line.strip()}
    made = 0
    for layer in layers:
        if layer.chain not in present:
            _seed_layer(ctr, layer, unfinished=f"seed-{layer.chain}" in present)
            present.add(layer.chain)
            made += 1
    return made


def _seed_layer(ctr: Sequence[str], layer: Layer, *, unfinished: bool) -> None:
    key = f"seed-{layer.chain}"
    if unfinished:
        run([*ctr, "snapshots", "delete", key])
    run([*ctr, "snapshots", "prepare", key, *([layer.parent] if layer.parent else [])])
    target = snapshot_folder(run([*ctr, "snapshots", "mounts", "/unused", key]))
    private = ["unshare", "--mount", "--propagation", "private"]
    run([*private, "sh", "-c", _LINK, "sh", layer.files.parents[1], layer.files, target])
    run([*ctr, "snapshots", "commit", layer.chain, key])


def snapshot_folder(mounts: str) -> Path:
    """The writable folder of a prepared snapshot, from what `ctr snapshots mounts` prints."""
    match = _SOURCE.search(mounts) or _BIND.search(mounts)
    if not match:
        raise DevclusterError(f"containerd's overlay snapshotter is needed on the nodes; it answered: {mounts.strip()}")
    return Path(match[1])
