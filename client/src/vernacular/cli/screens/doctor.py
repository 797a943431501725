"""Findings about a cluster, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.cli.checkup import Finding, Health
from vernacular.cli.screens.layout import Paint, wrapped
from vernacular.cli.terminal import Colour

_MARKS = {Health.GOOD: ("✓", Colour.GOOD), Health.BAD: ("✗", Colour.BAD), Health.UNKNOWN: ("?", Colour.ATTENTION)}
_WIDEST = 110


def report(findings: Sequence[Finding], paint: Paint, width: int) -> list[str]:
    """A mark and what was found; below it what mends it."""
    lines = []
    for item in findings:
        mark, colour = _MARKS[item.health]
        room = min(width, _WIDEST) - 4
        first, *rest = wrapped(item.what, room)
        lines += [f"{paint(mark, colour)} {first}", *(f"  {line}" for line in rest)]
        lines += [f"    {line}" for line in wrapped(item.advice, room)]
    return lines
