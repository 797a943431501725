"""Files of this machine that a job names by {file: PATH}: they go into ConfigMaps named after their content."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from vernacular.cli.errors import CliError

Json = dict[str, Any]
Schema = Mapping[str, Any]

# what the API server lets into one ConfigMap
LIMIT_BYTES = 1024 * 1024
FILE = "file"
_REMOTE = {"configMap", "uri"}
_DIGEST_LENGTH = 20
_LONGEST_STEM = 40
_PACKED = ".gz"
# packing takes time, and no text becomes so much smaller
_LARGEST_PACKED = 64 * LIMIT_BYTES
# texts that become smaller; other kinds of files are packed already, or are not read when they are
_TEXTS = frozenset({".jsonl", ".json", ".csv", ".tsv"})


@dataclass(frozen=True)
class LocalFile:
    """One file with the ConfigMap that it becomes. `packed`: its content, when the ConfigMap has it packed."""

    path: Path
    config_map: Json
    key: str
    packed: bytes = b""

    @property
    def reference(self) -> Json:
        """How a job names it."""
        return {"configMap": {"name": self.config_map["metadata"]["name"], "key": self.key}}

    def is_in(self, config_map: Json) -> bool:
        """Whether a ConfigMap of the cluster has this content and no other."""
        if self.packed:
            # packed by another machine it may be other bytes
            return not config_map.get("data") and _unpacked(config_map, self.key, len(self.packed)) == self.packed
        return all((config_map.get(part) or {}) == self.config_map.get(part, {}) for part in ("data", "binaryData"))


def stored_rows(name: str, content: bytes) -> bytes:
    """What a ConfigMap is to hold of a file of rows: itself, or packed where only that may fit."""
    can_be_packed = PurePath(name).suffix.lower() in _TEXTS and len(content) <= _LARGEST_PACKED
    return gzip.compress(content, mtime=0) if len(content) > LIMIT_BYTES and can_be_packed else content


def named_files(value: Any, schema: Schema) -> Iterator[str]:
    """Every PATH of {file: PATH} where a file may be named."""
    if _is_local(value, schema):
        yield value[FILE]
    elif isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            yield from named_files(value.get(name), child)
    elif isinstance(value, list):
        for item in value:
            yield from named_files(item, schema.get("items", {}))


def named_sources(value: Any, schema: Schema) -> Iterator[Json]:
    """Every source where a job may name a file: with a ConfigMap or a URI once it is submitted."""
    if set(schema.get("properties", {})) >= _REMOTE and isinstance(value, dict):
        yield value
    elif isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            yield from named_sources(value.get(name), child)
    elif isinstance(value, list):
        for item in value:
            yield from named_sources(item, schema.get("items", {}))


def with_references(value: Any, schema: Schema, references: Mapping[str, Json]) -> Any:
    """The same with each {file: PATH} as the ConfigMap that it becomes."""
    if _is_local(value, schema):
        return {name: item for name, item in value.items() if name != FILE} | references[value[FILE]]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: with_references(item, properties.get(name, {}), references) for name, item in value.items()}
    if isinstance(value, list):
        return [with_references(item, schema.get("items", {}), references) for item in value]
    return value


def read_files(
    paths: Collection[str], folder: Path, typed: Collection[str] = (), rows: Collection[str] = ()
) -> dict[str, LocalFile]:
    """The files by the path that the job has, relative to its folder; those in `rows` may be packed to fit.

    Raises CliError for one that does not fit.
    """
    found = find_files(paths, folder, typed)
    return {path: _read(place, may_be_packed=path in rows) for path, place in found.items()}


def find_files(paths: Collection[str], folder: Path, typed: Collection[str] = ()) -> dict[str, Path]:
    """Where the files of a job are, by the path that it has. Raises CliError for one that it may not name.

    A job may come from somebody else, so that only what the person `typed` may lie anywhere.
    """
    # unlike Path's own method this leaves the home of an unknown user as it is written
    found = {path: folder / os.path.expanduser(path) for path in paths}  # noqa: PTH111
    for path, place in found.items():
        if path not in typed and not may_be_named(place, folder):
            raise CliError(
                f"the job names {path}, which is hidden or outside of its folder and of the working directory",
                "copy it to the job's folder, or name the rows to train on with --data",
            )
    return found


def may_be_named(file: Path, folder: Path) -> bool:
    """Whether a job in this folder may name the file: it lies below the folder or the working directory, not hidden."""
    place = file.resolve()
    return any(
        place.is_relative_to(base) and not any(part.startswith(".") for part in place.relative_to(base).parts)
        for base in (folder.resolve(), Path.cwd())
    )


def _is_local(value: Any, schema: Schema) -> bool:
    takes_files = set(schema.get("properties", {})) >= _REMOTE
    return takes_files and isinstance(value, dict) and isinstance(value.get(FILE), str) and not value.keys() & _REMOTE


def _read(path: Path, *, may_be_packed: bool) -> LocalFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}", "name a file that is there") from None
    key = re.sub(r"[^-._a-zA-Z0-9]", "-", path.name).lstrip(".") or "rows"
    stored = stored_rows(path.name, content) if may_be_packed else content
    if stored is not content:
        key = f"{key}{_PACKED}"
    if len(stored) > LIMIT_BYTES:
        packed = f", {len(stored) / LIMIT_BYTES:.1f} packed" if stored is not content else ""
        raise CliError(
            f"{path} has {len(content) / LIMIT_BYTES:.1f} MiB{packed}, and a ConfigMap holds 1 MiB",
            f"copy it to a claim of the namespace and write uri: pvc://CLAIM/{path.name} instead of file,"
            " or pack it: .gz and .zst are read as well",
        )
    if not content:
        raise CliError(f"{path} is empty", "name a file with rows")
    stem = re.sub(r"[^a-z0-9]+", "-", path.name.partition(".")[0].lower()).strip("-")[:_LONGEST_STEM].strip("-")
    digest = hashlib.sha256(key.encode() + b"\0" + content).hexdigest()[:_DIGEST_LENGTH]
    name = "-".join(filter(None, [stem, digest]))
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/created-by": "vernacular-cli"}},
        # its name says its content: it never needs to change
        "immutable": True,
        **_content(key, stored),
    }
    return LocalFile(path, config_map, key, b"" if stored is content else content)


def _content(key: str, content: bytes) -> Json:
    try:
        return {"data": {key: content.decode("utf-8")}}
    except UnicodeDecodeError:
        return {"binaryData": {key: base64.b64encode(content).decode()}}


def _unpacked(config_map: Json, key: str, limit: int) -> bytes:
    """What a key holds packed, not more than a byte beyond `limit`; empty when it holds nothing of that kind."""
    try:
        data = base64.b64decode((config_map.get("binaryData") or {}).get(key, ""))
        return gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
    except (binascii.Error, EOFError, OSError, zlib.error):
        return b""
