"""Resources as text: JSON and YAML as kubectl writes them, without what only servers read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from vernacular.cli.yamlfile import KubectlLoader

Json = dict[str, Any]


def as_list(items: Sequence[Json]) -> Json:
    """Several resources as one document."""
    return {"apiVersion": "v1", "kind": "List", "items": [_readable(item) for item in items]}


def dump(document: Json, form: str) -> str:
    """The document as json or yaml, with a newline at its end."""
    if form == "json":
        return json.dumps(_readable(document), indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(_readable(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that kubectl or another reader would take for something else: "2e-4", "on", "2026-01-02"."""


for _first, _resolvers in KubectlLoader.yaml_implicit_resolvers.items():
    for _tag, _pattern in _resolvers:
        _Dumper.add_implicit_resolver(_tag, _pattern, [_first])


def _readable(document: Json) -> Json:
    metadata = {key: value for key, value in document.get("metadata", {}).items() if key != "managedFields"}
    return {**document, "metadata": metadata} if "metadata" in document else document
