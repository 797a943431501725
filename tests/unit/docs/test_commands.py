"""Every `vernacular` command of the documents is one that the command line reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from docs import site
from vernacular.cli.parser import build_parser

_LINE = re.compile(r"^(?: {4,}|\$ | {4,}\$ )(vernacular [a-z].*)$", re.MULTILINE)
_SHELL = {"|", ">", "<", "&&", ";"}


def shown() -> Iterator[str]:
    for page in (path for path in site.sources(site.REPOSITORY) if path.suffix == ".md"):
        text = (site.REPOSITORY / page).read_text("utf-8")
        yield from _LINE.findall(text.replace("\\\n", " "))
        for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield from re.findall(r"^\$? ?(vernacular [a-z].*)$", block, re.MULTILINE)


def words(command: str) -> list[str]:
    """What the shell hands to the program."""
    result = shlex.split(command, comments=True)[1:]
    return result[: next((index for index, word in enumerate(result) if word in _SHELL), None)]


@pytest.mark.parametrize("command", sorted(set(shown())))
def test_shown_commands_are_read(command: str) -> None:
    given = words(command)
    if given[-1] == "...":
        given.pop()

    options = build_parser().parse_args(given)

    assert options.verb == given[0]


def test_there_are_many() -> None:
    assert len(set(shown())) > 20
