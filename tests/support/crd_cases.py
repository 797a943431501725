"""Cases for a CRD: values that the API server takes and values that it refuses, by the field that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.finetunejobs import at, both


@dataclass(frozen=True)
class Accepted:
    """A spec that is taken."""

    field: str
    patch: dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A spec that is refused; `says`: words of the message that the server must answer with."""

    field: str
    patch: dict[str, Any]
    says: str


Case = Accepted | Refused


def accepts(field: str, *values: Any, given: dict[str, Any] | None = None) -> list[Case]:
    """Values that are taken; `given` is what else the spec says."""
    return [Accepted(field.replace("[]", ""), both(given or {}, at(field, value))) for value in values]


def refuses(field: str, says: str, *values: Any, given: dict[str, Any] | None = None) -> list[Case]:
    """Values that are refused with these words."""
    return [Refused(field.replace("[]", ""), both(given or {}, at(field, value)), says) for value in values]


def integer(field: str, low: int, high: int, given: dict[str, Any] | None = None) -> list[Case]:
    """Both ends of the range, and what lies outside of it."""
    return [
        *accepts(field, low, high, given=given),
        *refuses(field, f"should be greater than or equal to {low}", low - 1, given=given),
        *refuses(field, f"should be less than or equal to {high}", high + 1, given=given),
        *refuses(field, "must be of type integer", str(low), given=given),
    ]


def choice(field: str, *values: str, given: dict[str, Any] | None = None) -> list[Case]:
    """Every name, a misspelt one and a number."""
    return [
        *accepts(field, *values, given=given),
        *refuses(field, "Unsupported value", values[0].lower(), "", given=given),
        *refuses(field, "must be of type string", 1, given=given),
    ]


def text(
    field: str,
    longest: int,
    good: tuple[Any, ...],
    bad: tuple[Any, ...],
    says: str,
    given: dict[str, Any] | None = None,
) -> list[Case]:
    """Good and bad texts; `says` is the message for bad ones."""
    return [
        *accepts(field, *good, given=given),
        *refuses(field, says, *bad, given=given),
        *refuses(field, f"may not be more than {longest}", "a" * (longest + 1), given=given),
        *refuses(field, "must be of type string", 7, given=given),
    ]


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all fields that have no fields of their own."""
    inner = schema.get("items", schema)
    properties = inner.get("properties")
    if not properties:
        yield path
        return
    for name, child in properties.items():
        yield from leaves(child, f"{path}.{name}".lstrip("."))


def messages(schema: dict[str, Any]) -> Iterator[str]:
    """Messages of all rules that look at one version of the object."""
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"]:
            yield rule["message"]
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if isinstance(child, dict):
            yield from messages(child)
