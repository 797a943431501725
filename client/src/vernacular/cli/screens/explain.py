"""An explanation of a job."""

from __future__ import annotations

from vernacular.cli.explaining import Explanation
from vernacular.cli.screens.layout import Paint, section, wrapped
from vernacular.cli.terminal import Colour, printable

_WIDEST = 110


def explanation(answer: Explanation, paint: Paint, width: int) -> list[str]:
    """Headline and meaning, then what was seen, what follows, what to do, and the commands, which stay in one line."""
    room = min(width, _WIDEST) - 2
    seen = [line for item in answer.seen for line in wrapped(item, room)]
    todo = [line for item in (answer.follows, answer.advice) for line in wrapped(item, room)]
    commands = [line for command, purpose in answer.commands for line in (f"# {purpose}", printable(command))]
    return [
        paint(printable(answer.headline), Colour.STRONG),
        *wrapped(answer.meaning, room),
        *section("Seen", seen, paint),
        *section("What to do", todo, paint),
        *section("Commands", [paint(line, Colour.FAINT) if line.startswith("#") else line for line in commands], paint),
    ]
