"""Lines of text: tables, sections of names and values, wrapped paragraphs. Colours are added after measuring."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vernacular.cli.terminal import Colour, printable

Paint = Callable[[str, Colour | None], str]

_GAP = "   "
_LABEL = 14
_WIDEST = 110
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Cell(NamedTuple):
    """A text with its colour."""

    text: str
    colour: Colour | None = None


def table(titles: Sequence[str], rows: Sequence[Sequence[Cell]], paint: Paint) -> list[str]:
    """Columns as wide as their widest cell."""
    whole = [[Cell(title, Colour.STRONG) for title in titles], *([_clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index].text) for row in whole) for index in range(len(titles))]
    return [_line(row, widths, paint) for row in whole]


def field(label: str, value: Cell | str, paint: Paint, width: int) -> list[str]:
    """A name and its value, which goes on below itself when it is long."""
    cell = _clean(value if isinstance(value, Cell) else Cell(value))
    lines = wrapped(cell.text, min(width, _WIDEST) - _LABEL) or [""]
    heads = [f"{label and label + ':':<{_LABEL}}", *([" " * _LABEL] * (len(lines) - 1))]
    return [f"{head}{paint(line, cell.colour)}".rstrip() for head, line in zip(heads, lines, strict=True)]


def section(title: str, lines: Sequence[str], paint: Paint) -> list[str]:
    """Lines under a title, behind an empty line; nothing when there are none."""
    return ["", paint(title, Colour.STRONG), *(f"  {line}".rstrip() for line in lines)] if lines else []


def rows_of(line: str, width: int) -> int:
    """How many rows of the screen a line takes."""
    return max(1, -(-len(_ESCAPES.sub("", line)) // width))


def wrapped(text: str, width: int) -> list[str]:
    """A paragraph in lines of at most `width` characters; a longer word stays whole, so that it can be copied."""
    return textwrap.wrap(printable(text), max(20, width), break_long_words=False, break_on_hyphens=False)


def _line(row: Sequence[Cell], widths: Sequence[int], paint: Paint) -> str:
    # painted first, padded after: an escape sequence takes no room on the screen
    cells = [
        paint(cell.text, cell.colour) + " " * (width - len(cell.text)) for cell, width in zip(row, widths, strict=True)
    ]
    return _GAP.join(cells).rstrip()


def _clean(cell: Cell) -> Cell:
    return Cell(printable(cell.text), cell.colour)
