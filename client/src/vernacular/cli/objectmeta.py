"""The metadata of an object as its author writes it, and what only the server writes there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from vernacular.cli.yamlfile import Document, Path

OF_THE_SERVER = frozenset(
    {
        *("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"),
        *("deletionTimestamp", "deletionGracePeriodSeconds"),
    }
)
_MAPS = ("labels", "annotations")
_OWN = ("name", "namespace", *_MAPS, "finalizers", "ownerReferences", "generateName")


def metadata_problems(metadata: Any, document: Document) -> Iterator[tuple[Path, str]]:
    """Path in the document and message of everything that is wrong with the metadata of a job."""
    if not isinstance(metadata, dict | None):
        yield ("metadata",), f"must hold fields of its own, like {{name: hr-bot}}, and is {_shown(metadata)}"
        return
    found = metadata or {}
    if not found.get("name"):
        yield ("metadata",), "give the job a name: metadata: {name: hr-bot}"
    for key, value in found.items():
        path: Path = ("metadata", str(key))
        if key not in _OWN and key not in OF_THE_SERVER:
            near = difflib.get_close_matches(str(key), _OWN, 1)
            yield path, f"unknown field {key}" + (f"; did you mean {near[0]}?" if near else "")
        elif key in ("name", "namespace"):
            yield from _text(value, path, document)
        elif key in _MAPS and not isinstance(value, dict | None):
            yield path, f"must hold names with texts, like {{team: hr}}, and is {_shown(value)}"
        elif key in _MAPS:
            for name, item in (value or {}).items():
                yield from _text(item, (*path, str(name)), document)


def _text(value: Any, path: Path, document: Document) -> Iterator[tuple[Path, str]]:
    if value is not None and not isinstance(value, str):
        written = document.written(path)
        yield path, f'must be a text: write it in quotes, like "{written if written is not None else "..."}"'


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
