"""What the models say of a spec: unknown and missing fields, types, ranges, patterns. In words that help."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vernacular.api.spec import FineTuneJobSpec
from vernacular.cli.yamlfile import Document, Path

Schema = Mapping[str, Any]

_SHAPES = {
    "object": "must hold fields of its own, like {}",
    "array": "must be a list: write - before each entry",
    "integer": "must be a whole number",
    "boolean": "must be true or false",
}


def shape_problems(spec: Any, schema: Schema, document: Document) -> Iterator[tuple[Path, str]]:
    """Path in the document and message of everything that has the wrong shape."""
    if not isinstance(spec, dict):
        yield ("spec",), "write spec with model and dataset"
        return
    try:
        # JSON mode: a list is a tuple and a text an enum, but a text is never a number
        FineTuneJobSpec.model_validate_json(json.dumps(spec, default=str), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            # entries that are wrong are missing from the list as well, which nobody needs to know
            if not (detail["type"] == "too_short" and detail["input"]):
                yield _problem(detail, schema, document)


def doubled_entries(value: Any, schema: Schema, path: Path) -> Iterator[tuple[Path, str]]:
    """Entries of lists that are told apart by a key, when two have the same."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            yield from doubled_entries(value.get(name), child, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        keys = schema.get("x-kubernetes-list-map-keys", ())
        seen: set[tuple[str, ...]] = set()
        for index, item in enumerate(value):
            if keys and isinstance(item, dict):
                entry = tuple(str(item.get(key)) for key in keys)
                if entry in seen:
                    yield (*path, index), f"there are two entries with {' and '.join(keys)} {', '.join(entry)}"
                seen.add(entry)
            yield from doubled_entries(item, schema["items"], (*path, index))


def _problem(detail: ErrorDetails, schema: Schema, document: Document) -> tuple[Path, str]:
    path = ("spec", *(step for step in detail["loc"] if step != "[key]"))
    parent, own = _at(schema, path[1:-1]), _at(schema, path[1:])
    written = document.written(path)
    match detail["type"]:
        case "extra_forbidden":
            message = _unknown(str(path[-1]), parent, schema)
        case "missing":
            message = f"{path[-1]} is missing: {own.get('description', '')}".rstrip(": ")
        case "enum":
            message = _none_of(detail["input"], own, written)
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "too_long" | "too_short":
            bound = "at most {max_length}" if detail["type"] == "too_long" else "at least {min_length}"
            message = f"must have {bound.format(**detail['ctx'])} entries, and has {len(detail['input'])}"
        case _:
            other = f"{_shown(detail['input'])}: {_lower(detail['msg'])}"
            message = _wrong_type(detail["input"], own, written) or other
    return path, message


def _unknown(name: str, parent: Schema, schema: Schema) -> str:
    fields = list(parent.get("properties", {}))
    if near := difflib.get_close_matches(name, fields, 1, cutoff=0.6):
        return f"unknown field {name}; did you mean {near[0]}?"
    if same := [each for each in fields if each.lower() == name.lower()]:
        return f"unknown field {name}; did you mean {same[0]}?"
    if elsewhere := list(_places(schema, name, "spec")):
        return f"unknown field {name} here; there is {' and '.join(elsewhere[:2])}"
    return f"unknown field {name}; here can be {', '.join(fields)}"


def _places(schema: Schema, name: str, prefix: str) -> Iterator[str]:
    for field, child in schema.get("properties", {}).items():
        path = f"{prefix}.{field}"
        if field.lower() == name.lower():
            yield path
        yield from _places(child, name, path)
        if "items" in child:
            yield from _places(child["items"], name, f"{path}[]")


def _none_of(value: Any, schema: Schema, written: str | None) -> str:
    choices = [str(choice) for choice in schema.get("enum", ())]
    # YAML reads On, Off, yes and no as true and false
    if isinstance(value, bool) and written in choices:
        return f'YAML reads {written} as {str(value).lower()}; write it in quotes: "{written}"'
    text = written if written is not None else _shown(value)
    same = [choice for choice in choices if choice.lower() == text.lower()]
    near = same or difflib.get_close_matches(text, choices, 1)
    return f"{text} is none of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else "")


def _wrong_type(value: Any, schema: Schema, written: str | None) -> str | None:
    """What to write when the type is wrong; None when something else is."""
    kind = schema.get("type", "")
    if "enum" in schema and not isinstance(value, str):
        return _none_of(value, schema, written)
    if kind == "string" and not isinstance(value, str):
        return f'must be a text: write it in quotes, like "{written if written is not None else "..."}"'
    types = {"object": dict, "array": list | tuple, "integer": int, "boolean": bool}
    if kind in types and (not isinstance(value, types[kind]) or (kind == "integer" and isinstance(value, bool))):
        return f"{_SHAPES[kind]}, and is {_shown(value)}"
    return None


def _at(schema: Schema, path: Path) -> Schema:
    for step in path:
        child = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
        schema = child or schema.get("additionalProperties") or {}
    return schema


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
