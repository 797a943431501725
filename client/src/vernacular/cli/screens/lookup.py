"""Which jobs were made of which rows."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.cli.lookup import Use
from vernacular.cli.registry import Version
from vernacular.cli.screens.layout import Cell, Paint, table, wrapped
from vernacular.cli.screens.values import counted, text
from vernacular.cli.terminal import Colour

_TITLES = ("JOB", "NAMESPACE", "TRAINED ON", "TESTED WITH", "VERSIONS", "RUN")
_WIDEST = 110


def answer(asked: int, uses: Sequence[Use], unknown: Sequence[str], paint: Paint, width: int) -> list[str]:
    """A line for each run that used one of the rows, then what cannot be told."""
    rows = [
        [
            Cell(text(use.run.job)),
            Cell(text(use.run.namespace)),
            Cell(f"{len(use.trained)} of {counted(asked, 'row')}", Colour.ATTENTION if use.trained else None),
            Cell(f"{len(use.tested)} of {counted(asked, 'row')}"),
            Cell(text(", ".join(_version(item) for item in use.versions))),
            Cell(use.run.run_id + (" (in the trash)" if use.run.deleted else "")),
        ]
        for use in uses
    ]
    lines = table(_TITLES, rows, paint) if rows else [f"No published model was made of {counted(asked, 'such row')}."]
    if unknown:
        what = f"Not known of {counted(len(unknown), 'job')}, since they have published no list of their rows: "
        lines += ["", *wrapped(what + ", ".join(unknown), min(width, _WIDEST))]
    return lines


def _version(version: Version) -> str:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    return f"{version.model} {version.number}{aliases}"
