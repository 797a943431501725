"""Registered models and their versions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vernacular.cli.registry import Version
from vernacular.cli.screens.layout import Cell, Paint, table
from vernacular.cli.screens.values import duration, text
from vernacular.cli.terminal import Colour

_TITLES = ("MODEL", "VERSION", "ALIASES", "JOB", "AGE")


def model_table(versions: Sequence[Version], now: datetime, paint: Paint) -> list[str]:
    """One line a version."""
    rows = [
        [
            Cell(item.model),
            Cell(str(item.number)),
            Cell(text(", ".join(item.aliases)), Colour.GOOD if item.aliases else None),
            Cell(text(item.job)),
            Cell(duration(now.timestamp() - item.created_ms / 1000)),
        ]
        for item in versions
    ]
    return table(_TITLES, rows, paint)
