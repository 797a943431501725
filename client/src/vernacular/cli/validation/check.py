"""A FineTuneJob as it was written against models and rules."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vernacular.api.constants import API_VERSION, KIND
from vernacular.api.crd import FINE_TUNE_JOB, structural_schema
from vernacular.cli.objectmeta import metadata_problems
from vernacular.cli.validation.rules import broken_rules, with_defaults
from vernacular.cli.validation.shapes import doubled_entries, shape_problems
from vernacular.cli.yamlfile import Document, Path

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its line in the file from 1, the field, and what to write instead."""

    line: int
    field: str
    message: str


def job_schema() -> dict[str, Any]:
    """The schema of the resource; it takes a moment to make."""
    return structural_schema(FINE_TUNE_JOB)


def check_job(document: Document, schema: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with one job, in the order of the file; empty when the API server would take it."""
    found = [Problem(document.line(path), name_of(path), message) for path, message in _all(document, schema)]
    return sorted(found, key=lambda problem: problem.line)


def name_of(path: Path) -> str:
    """A field as it is written in messages: spec.dataset.train[0].uri."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _all(document: Document, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    value = document.value
    if not isinstance(value, dict):
        yield (), f"this is no {KIND}; begin with apiVersion: {API_VERSION}"
        return
    yield from _head(value)
    yield from metadata_problems(value.get("metadata"), document)
    spec = _without_nulls(value.get("spec"))
    shapes = list(shape_problems(spec, schema["properties"]["spec"], document))
    yield from shapes
    yield from doubled_entries(spec, schema["properties"]["spec"], ("spec",))
    # as the API server does it: rules are for what has the right shape
    if not shapes and isinstance(value.get("metadata"), dict) and isinstance(value["metadata"].get("name"), str):
        whole = {"metadata": {"name": value["metadata"]["name"]}, "spec": json.loads(json.dumps(spec))}
        yield from broken_rules(with_defaults(whole, schema), schema)


def _head(value: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(key) != expected:
            yield (key,), f"write {key}: {expected}"
    for key in value:
        if key not in _TOP:
            near = difflib.get_close_matches(str(key), _TOP, 1)
            yield (key,), f"unknown field {key}" + (f"; did you mean {near[0]}?" if near else "")


def _without_nulls(value: Any) -> Any:
    """The API server takes what is null for absent."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
