"""Amounts of resources as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def amount(quantity: str) -> Decimal:
    """The number that a quantity stands for: `1536Mi` is 1610612736. Raises ValueError for other texts."""
    found = _QUANTITY.fullmatch(quantity)
    if not found or found.group(2) not in _SUFFIXES:
        raise ValueError(f"{quantity!r} is no quantity")
    return Decimal(found.group(1)) * _SUFFIXES[found.group(2)]
