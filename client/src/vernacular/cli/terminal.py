"""The terminal: where text goes, whether it has colours, how wide it is, and questions to the person before it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from vernacular.cli.errors import CliError

_ADVICE_INDENT = "  "


class Colour(StrEnum):
    """ANSI colours by what they mean here."""

    GOOD = "32"
    BAD = "31"
    ATTENTION = "33"
    ACTIVE = "36"
    FAINT = "2"
    STRONG = "1"


@dataclass(frozen=True)
class Terminal:
    """Output, errors, and what the output can show. `live`: a screen that can be written over."""

    out: TextIO
    err: TextIO
    colours: bool
    live: bool

    @classmethod
    def of(cls, out: TextIO, err: TextIO, environment: Mapping[str, str]) -> Terminal:
        """As the environment has it: no colours with NO_COLOR, and nothing but text without a screen."""
        screen = out.isatty() and environment.get("TERM", "") != "dumb"
        return cls(out, err, screen and not environment.get("NO_COLOR"), screen)

    @property
    def width(self) -> int:
        """Columns of the screen; unlimited when there is none."""
        return shutil.get_terminal_size().columns if self.live else sys.maxsize

    def paint(self, text: str, colour: Colour | None) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{colour.value}m{text}\x1b[0m" if self.colours and colour and text else text

    def write(self, lines: Sequence[str]) -> None:
        """Write lines of text."""
        self.out.writelines(f"{line}\n" for line in lines)
        self.out.flush()

    def note(self, text: str) -> None:
        """Tell the person something that is not part of the output."""
        self.err.write(f"{text}\n")
        self.err.flush()

    def complain(self, message: str, advice: str) -> None:
        """One sentence, and what to do, on the error output."""
        self.note(f"Error: {printable(message)}")
        if advice:
            self.note(f"{_ADVICE_INDENT}{printable(advice)}")

    def confirm(self, question: str, yes: bool) -> bool:
        """Whether the person agrees; `yes` answers for them. Raises CliError when there is nobody to ask."""
        if yes:
            return True
        question = printable(question)
        if not sys.stdin.isatty():
            raise CliError(f"{question} Nobody can be asked here", "add --yes to agree")
        self.err.write(f"{question} [y/N] ")
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def confirm_by(self, word: str, warning: str, yes: bool) -> bool:
        """Whether the person types this very word; `yes` does it for them. Raises CliError when nobody can be asked."""
        if yes:
            return True
        if not sys.stdin.isatty():
            raise CliError(f"{printable(warning)} Nobody can be asked here", "add --yes to agree")
        self.err.write(f"{printable(warning)} Type {printable(word)} to agree: ")
        self.err.flush()
        return sys.stdin.readline().strip() == word


def printable(text: str) -> str:
    """Without control characters: text from a cluster must not move the cursor or change colours."""
    return "".join(char if char.isprintable() else " " for char in text)
