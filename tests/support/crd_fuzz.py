"""Specs from a CRD's own schema: mostly of the right form, now and then with a value that is not."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from hypothesis import strategies as st

from support.apiserver import ApiServer

Json = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"
# what becomes of these in a shell, a template, a path, a header or a log is what a careless program shows
NASTY = (
    "", " ", "$(id)", "`id`", "; rm -rf /", "%s%n{0}{x!r}", "../../etc/passwd", "a/../b", "-", "--help", "a..b", ".",
    "..", "\n", "a\nb", "\x00", "ünï", "\u202e", "'", '"', "{{ .Values }}", "$(NODE_NAME)", "${PATH}", "a" * 300, "0",
    "-1", "1e400", "nan", "true", "null", "vernacular.dev/x", "1.5.2/x", "ſ",
)  # fmt: skip
_QUANTITIES = ("1Gi", "20Gi", "500M", "1", "250m", "1e3", "0", "-1Gi", "1.5.2", "Gi")


def specs(schema: Json) -> st.SearchStrategy[Json]:
    """Values of an object's schema."""
    return _object(schema)


def _value(schema: Json) -> st.SearchStrategy[Any]:
    right = _right(schema)
    wrong = st.sampled_from(NASTY) | st.integers(-2, 2**40) | st.booleans() | st.none() | st.just([]) | st.just({})
    # a rare branch: with many fields, more would leave no spec in which everything else is right
    return st.integers(0, 60).flatmap(lambda number: wrong if number == 0 else right)


def _right(schema: Json) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "object":
            return _object(schema)
        case "array":
            size = {"min_size": schema.get("minItems", 0), "max_size": max(2, schema.get("minItems", 0))}
            return st.lists(_value(schema["items"]), **size)
        case "integer":
            return st.integers(schema.get("minimum", -5), schema.get("maximum", 2**31))
        case "boolean":
            return st.booleans()
        case "string":
            return _string(schema)
    return st.none() | st.just({}) | st.text(max_size=5)


def _object(schema: Json) -> st.SearchStrategy[Json]:
    if isinstance(values := schema.get("additionalProperties"), dict):
        keys = st.sampled_from(("team", "example.com/note", "cpu", "memory", *NASTY))
        return st.dictionaries(keys, _value(values), max_size=2)
    properties: Mapping[str, Json] = schema.get("properties", {})
    needed = set(schema.get("required", ()))
    required = {name: _value(child) for name, child in properties.items() if name in needed}
    optional = {name: _value(child) for name, child in properties.items() if name not in needed}
    return st.fixed_dictionaries(required, optional=optional).flatmap(lambda found: _thinned(found, needed))


def _thinned(found: Json, needed: set[str]) -> st.SearchStrategy[Json]:
    """Optional fields are there one time in four: many of them exclude each other."""
    names = sorted(found.keys() - needed)
    kept = st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names))
    return kept.map(
        lambda numbers: {
            name: value for name, value in found.items() if name in needed or not numbers[names.index(name)]
        }
    )


def _string(schema: Json) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    rules = [rule["rule"] for rule in schema.get(VALIDATIONS, ())]
    if any("quantity(self)" in rule for rule in rules):
        return st.sampled_from(_QUANTITIES)
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 64)
    for rule in rules:
        if found := re.match(r"self\.matches\('\^(.*?)\$'\)", rule):
            pattern = found[1].replace("\\\\", "\\").replace("\\'", "'")
            matching = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
            matching = matching.filter(lambda text: shortest <= len(text) <= longest)
            return st.one_of(matching, matching, matching, st.sampled_from(NASTY))
    return st.text(min_size=shortest, max_size=min(longest, shortest + 12)) | st.sampled_from(NASTY)


def rules_across_fields(schema: Json) -> frozenset[str]:
    """Messages of the rules on objects and lists, which the models leave to the API server."""
    found = {rule["message"] for rule in schema.get(VALIDATIONS, ()) if schema.get("type") != "string"}
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return frozenset(found).union(*(rules_across_fields(child) for child in children if isinstance(child, dict)))


class DryRun:
    """Creates objects without storing them, over one connection."""

    def __init__(self, server: ApiServer) -> None:
        address = urlparse(server.address)
        self._connection = http.client.HTTPSConnection(
            str(address.hostname), address.port, context=server.tls, timeout=60
        )

    def create(self, path: str, body: Json) -> tuple[Json | None, list[Json]]:
        """The object as it would be stored, or None and the causes of the refusal."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", json.dumps(body), headers)
        answer = self._connection.getresponse()
        document: Json = json.loads(answer.read())
        if answer.status < 300:
            return document, []
        assert answer.status in (400, 422), document
        causes: list[Json] = document.get("details", {}).get("causes", [])
        return None, causes or [{"field": "", "message": document["message"]}]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def without(document: Json, field: str) -> Json | None:
    """The document without what a cause of refusal names, or what is around it; None when nothing is left to remove."""
    copy: Json = json.loads(json.dumps(document))
    steps: list[str | int] = [int(index) if index else name for name, index in _STEP.findall(field)]
    while len(steps) > 1:
        parent: Any = copy
        try:
            for step in steps[:-1]:
                parent = parent[step]
            del parent[steps[-1]]
        except (KeyError, IndexError, TypeError):
            steps.pop()
        else:
            return copy
    return None


_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
