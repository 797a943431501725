"""Values of a resource as a person reads them. What is absent is None: an older or newer operator says less or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "m"), (_MINUTE, "m", 1, "s"))
_BARS = "▁▂▃▄▅▆▇█"
NOTHING = "-"


def pick(document: Mapping[str, Any], path: str) -> Any:
    """What is at a path like `status.progress.percent`; None when it is not there."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def text(value: Any) -> str:
    """Any value in a cell."""
    return NOTHING if value is None or value == "" else str(value)


def duration(seconds: float | None) -> str:
    """Seconds as 42s, 5m20s, 3h12m or 4d3h."""
    if seconds is None:
        return NOTHING
    whole = max(0, int(seconds))
    for size, letter, part, part_letter in _UNITS:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{letter}" + (f"{rest}{part_letter}" if rest else "")
    return f"{whole}s"


def since(timestamp: str | None, now: datetime) -> str:
    """How long ago that was."""
    return duration(seconds_between(timestamp, None, now))


def seconds_between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Seconds from one RFC 3339 time to another, or to now; None before the first."""
    if not start:
        return None
    last = datetime.fromisoformat(end) if end else now
    return (last - datetime.fromisoformat(start)).total_seconds()


def counted(number: int, thing: str) -> str:
    """1 row, 2 rows."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def percent(value: Any) -> str:
    """A percentage with its sign."""
    return NOTHING if value is None else f"{value}%"


def sparkline(values: list[float], width: int) -> str:
    """The course of values as bars, the last `width` of them; "" for fewer than two."""
    shown = values[-width:]
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


def bars(points: Sequence[tuple[int, float]], width: int, steps: tuple[int, int], scale: tuple[float, float]) -> str:
    """Values over their steps as bars, the mean of each column; `steps` and `scale` are what the edges stand for.

    A column between two points that has none shows the value before it; one before the first or behind the last is
    empty.
    """
    (first, last), (low, high) = steps, scale
    columns: list[list[float]] = [[] for _ in range(width)]
    for step, value in points:
        columns[round((step - first) * (width - 1) / max(1, last - first))].append(value)
    filled = [index for index, column in enumerate(columns) if column]
    shown, height = "", 0.0
    for index, column in enumerate(columns):
        height = sum(column) / len(column) if column else height
        level = round((height - low) * (len(_BARS) - 1) / (high - low)) if high > low else 0
        shown += _BARS[level] if filled and filled[0] <= index <= filled[-1] else " "
    return shown
