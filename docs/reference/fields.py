"""Reference pages of the resources: every field of a schema with its type, bounds, default and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vernacular.api.crd import Resource, structural_schema

Schema = Mapping[str, Any]

# written as in a Pod; Kubernetes' own reference describes what lies under it
_AS_IN_A_POD = "affinity"
_IMMUTABLE = "cannot change after creation"


def resource_page(resource: Resource, introduction: str) -> str:
    """The page of one kind: a table for each field of spec, with the rules below it, then the status."""
    schema = structural_schema(resource)["properties"]
    spec = schema["spec"]
    lines = [f"# {resource.kind}", "", introduction, "", "## What is refused in spec", "", *_rules(spec)]
    for name, field in spec["properties"].items():
        lines += ["", f"## spec.{name}", "", *_table(_fields(name, field, name in spec.get("required", ())))]
        if refused := list(_rules_below(name, field)):
            lines += ["", "Refused:", "", *refused]
    if status := schema.get("status"):
        fields = [row for name, field in status["properties"].items() for row in _fields(name, field)]
        lines += ["", "## status", "", "Written by the operator alone.", "", *_table(fields)]
    return "\n".join(lines) + "\n"


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    head = ["| field | type | meaning |", "| --- | --- | --- |"]
    return head + [f"| `{name}` | {kind} | {meaning} |" for name, kind, meaning in rows]


def _fields(path: str, field: Schema, required: bool = False) -> list[tuple[str, str, str]]:
    """Rows of a field and of everything below it."""
    inner = field.get("items", field)
    meaning = field.get("description") or inner.get("description", "")
    rows = [(path, _kind(field), _cell(_with_default(meaning, field, required)))]
    if path.rpartition(".")[2] == _AS_IN_A_POD:
        return rows
    below = f"{path}[]" if "items" in field else path
    for name, each in inner.get("properties", {}).items():
        rows += _fields(f"{below}.{name}", each, name in inner.get("required", ()))
    return rows


def _kind(field: Schema) -> str:
    if values := field.get("enum"):
        return _cell(", ".join(f"`{value}`" for value in values))
    kind = f"list of {field['items']['type']}" if "items" in field else field.get("type", "any")
    unit = " items" if "items" in field else ""
    low, high = (field.get(key, field.get(f"{key[:3]}Items")) for key in ("minimum", "maximum"))
    if high is not None:
        return f"{kind}, {low or 0} to {high}{unit}"
    return f"{kind}, at least {low}{unit}" if low is not None else kind


def _with_default(meaning: str, field: Schema, required: bool) -> str:
    text = " ".join(meaning.split())
    if required:
        text = f"{text} **Required.**"
    plain = not isinstance(field.get("default", {}), dict)
    if plain and "default" not in text.lower():
        text = f"{text} Default: {json.dumps(field['default']).strip(chr(34))}."
    return text.strip()


def _rules_below(path: str, field: Schema) -> Iterator[str]:
    """What is refused in a field and below it; what each word is refused for is said by the API server itself."""
    inner = field.get("items", field)
    if "properties" in field or "items" in field:
        for rule in [*_rules(field), *(_rules(inner) if inner is not field else ())]:
            yield f"- `{path}`: {rule.removeprefix('- ')}"
    below = f"{path}[]" if "items" in field else path
    if path.rpartition(".")[2] != _AS_IN_A_POD:
        for name, each in inner.get("properties", {}).items():
            yield from _rules_below(f"{below}.{name}", each)


def _rules(schema: Schema) -> list[str]:
    """Messages of the rules of one object, but the one that every field of a job has: that it cannot change."""
    rules = schema.get("x-kubernetes-validations", ())
    messages = (" ".join(rule["message"].split()) for rule in rules if "message" in rule)
    return [f"- {message}" for message in messages if _IMMUTABLE not in message]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
