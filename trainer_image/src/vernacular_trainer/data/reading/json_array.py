"""A JSON file that is one list; every element is found with the line where it begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from vernacular_trainer.data.reading.record import Record, unreadable
from vernacular_trainer.data.reading.unpack import read_whole
from vernacular_trainer.errors import StageError

# a list of lists or texts is no data set: such lines are bad rows of JSON Lines
STARTS_ARRAY = re.compile(rb"\s*\[\s*(\{|\]?\s*$)")
_SPACE = re.compile(r"[ \t\n\r]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
_ADVICE = "mend the place, or write the file as JSON Lines, one object a line: then every bad row is found at once"


def read_json_array(stream: BinaryIO, name: str) -> Iterator[Record]:
    """A record for every element. Raises StageError (DatasetUnreadable) at the first place that is no JSON, because
    nobody can tell where the next element begins.
    """
    text = read_whole(stream, name).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    decoder = json.JSONDecoder()
    position = _skip(text, _skip(text, 0) + 1)
    line, counted = 1, 0
    while text[position : position + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _broken(text, name, getattr(error, "pos", position)) from None
        line, counted = line + text.count("\n", counted, position), position
        bad = _UNDECODED.search(text, position, end) is not None
        yield Record(f"{name}:{line}", None if bad else value, "NotUtf8" if bad else "")
        position = _after_element(text, name, end)
    if _skip(text, position + 1) != len(text):
        raise _broken(text, name, _skip(text, position + 1))


def _after_element(text: str, name: str, end: int) -> int:
    """Where the next element begins, or the end of the list."""
    position = _skip(text, end)
    match text[position : position + 1]:
        case "]":
            return position
        case "," if text[(following := _skip(text, position + 1)) : following + 1] != "]":
            return following
        case _:
            raise _broken(text, name, position)


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _broken(text: str, name: str, position: int) -> StageError:
    line = text.count("\n", 0, position) + 1
    return unreadable(f"{name}, line {line}: not valid JSON", _ADVICE)
