"""Which rows a model was made of, as digests: who has a row can ask, who has the list learns no row from it.

A digest is the SHA-256 of the turns of a row as it was read, without system messages, in lower case with single spaces.
So a row is found in whatever format and under whatever system prompt it was given, and also where personal data in it
was masked before the training. Short rows can be guessed: whoever may read the list can try texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from vernacular_trainer.data.files import write_atomically
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.reading.files import read_records
from vernacular_trainer.data.rows import Conversation, RowError, normalised

TRAINED, TESTED = "train", "test"


def lookup_digest(row: Conversation) -> str:
    """The digest of one row."""
    turns = (f"{message.role}: {normalised(message.content)}" for message in row.everything if message.role != "system")
    return hashlib.sha256("\n".join(turns).encode()).hexdigest()


def write_row_digests(path: Path, read: Iterable[Conversation], uses: Mapping[str, str]) -> None:
    """Write `digest,use` lines of the rows in `uses`, which says by their places what each is used for.

    They are sorted, so that the list does not tell which rows stood beside each other.
    """
    found = sorted({(lookup_digest(row), uses[row.row]) for row in read if row.row in uses})

    def write(stream: BinaryIO) -> None:
        stream.write(b"digest,use\n")
        stream.writelines(f"{digest},{use}\n".encode() for digest, use in found)

    write_atomically(path, write)


def digests_of(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Place and digest of each row of a file, "" for one that no job can read. Raises StageError for the whole file."""
    for record in read_records(path, str(path), columns):
        try:
            if record.error:
                raise RowError(record.error)
            parsed = parse_row(record.value)
            row = Conversation(record.row, parsed.messages, parsed.tools, parsed.plain, parsed.rejected)
            yield record.row, lookup_digest(row)
        except RowError:
            yield record.row, ""
