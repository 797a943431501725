"""The CEL rules of the CRD, evaluated here as the API server evaluates them at creation."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import cel

from vernacular.api.base import VALIDATIONS
from vernacular.cli.yamlfile import Path

Schema = Mapping[str, Any]

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE]?)|[eE]([+-]?\d+))")
_SUFFIXES = {
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    "": Decimal(1),
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}


def with_defaults(value: Any, schema: Schema) -> Any:
    """The value with what the API server fills in before it looks at rules."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, child in schema.get("properties", {}).items():
            if name not in filled and "default" in child:
                filled[name] = copy.deepcopy(child["default"])
            if name in filled:
                filled[name] = with_defaults(filled[name], child)
        return filled
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(item, schema["items"]) for item in value]
    return value


def broken_rules(value: Any, schema: Schema, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Path and message of every rule that does not hold. Rules about changes need an older object, and are left out."""
    for entry in schema.get(VALIDATIONS, ()):
        if "oldSelf" not in entry["rule"] and not holds(entry["rule"], value):
            yield path, entry["message"]
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from broken_rules(value[name], child, (*path, name))
        if isinstance(values := schema.get("additionalProperties"), dict):
            for name, item in value.items():
                yield from broken_rules(item, values, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from broken_rules(item, schema["items"], (*path, index))


def holds(rule: str, value: Any) -> bool:
    """Whether a rule holds of a value. What cannot be evaluated does not hold: the API server says so too."""
    context = cel.Context()
    context.add_variable("self", value)
    for name, function in _FUNCTIONS.items():
        context.add_function(name, function)
    try:
        return _compiled(rule).execute(context) is True
    except (ValueError, TypeError, RuntimeError):
        return False


@cache
def _compiled(rule: str) -> cel.Program:
    return cel.compile(rule)


def _amount(text: str) -> Decimal:
    found = _QUANTITY.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no quantity")
    number, suffix, exponent = found.groups()
    return Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix])


def _is_quantity(text: str) -> bool:
    return _QUANTITY.fullmatch(text) is not None


# Kubernetes' own functions; a quantity goes through CEL as its text
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "isQuantity": _is_quantity,
    "quantity": lambda text: text,
    "isLessThan": lambda one, other: _amount(one) < _amount(other),
    "isGreaterThan": lambda one, other: _amount(one) > _amount(other),
    "lowerAscii": lambda text: text.lower(),
    "sum": sum,
}
