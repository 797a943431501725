"""Reads and checks all training sources: every bad row is found before the job fails, not only the first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

from vernacular_trainer.contract import DatasetConfig, FileSource, StageFailure
from vernacular_trainer.data.files import InputCopy, copy_input
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.reading.blocks import Block
from vernacular_trainer.data.reading.files import read_blocks
from vernacular_trainer.data.reading.record import Record
from vernacular_trainer.data.remote.fetch import NO_SERVERS, Servers, fetch, list_source
from vernacular_trainer.data.row_store import Packed, RowStore, pack
from vernacular_trainer.data.rows import Conversation, RowError, with_system_prompt
from vernacular_trainer.data.workers import INLINE, Workers
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

_SUFFIXES = re.compile(r"(\.[A-Za-z0-9]{1,8}){0,2}$")


@dataclass(frozen=True)
class Checked:
    """All readable rows in the order of the files, of each the index of its source, the copies they came from, columns
    that were not used, and how many rows each source had. `held_out`: rows that the job holds out by name.
    """

    conversations: RowStore
    origins: tuple[int, ...]
    copies: tuple[InputCopy, ...]
    unused_columns: tuple[str, ...]
    read: tuple[int, ...]
    held_out: RowStore = field(default_factory=lambda: RowStore.of(()))

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(self.read)

    def with_held_out(self, other: Checked) -> Checked:
        """The counts and copies of both; the rows of the other stay apart, because they are not mixed."""
        unused = tuple(sorted({*self.unused_columns, *other.unused_columns}))
        return replace(
            self,
            copies=(*self.copies, *other.copies),
            unused_columns=unused,
            read=(*self.read, *other.read),
            held_out=other.conversations,
        )


@dataclass(frozen=True)
class Copied:
    """Copies of all training files in their order, and the names of files in named folders that are no rows."""

    copies: tuple[InputCopy, ...]
    ignored: tuple[str, ...] = ()


def copy_sources(
    sources: tuple[FileSource, ...], workspace: Workspace, servers: Servers = NO_SERVERS, use: str = "train"
) -> Copied:
    """Copy files of rows into the workspace, those of servers by way of the cache that jobs share, if any. `use`: what
    for, which keeps the copies apart.

    Raises StageError (DatasetNotFound, DatasetUnreadable, DatasetAccessDenied, SecretMissing, SourceUnavailable,
    SourceNotAllowed, ArgumentRefused).
    """
    copies: list[InputCopy] = []
    ignored: list[str] = []
    for number, source in enumerate(sources):
        if source.uri:
            found, passed_over = _copy_remote(source, f"{use}-{number}", workspace, servers)
            copies += [replace(copy, source=number) for copy in found]
            ignored += passed_over
        else:
            target = workspace.inputs / f"{use}-{number}{_suffix(source.path)}"
            missing, unreadable = StageFailure.DATASET_NOT_FOUND, StageFailure.DATASET_UNREADABLE
            copies.append(replace(copy_input(source, target, missing, unreadable), source=number))
    return Copied(tuple(copies), tuple(ignored))


def _copy_remote(
    source: FileSource, prefix: str, workspace: Workspace, servers: Servers
) -> tuple[list[InputCopy], tuple[str, ...]]:
    listing = list_source(source, StageFailure.DATASET_NOT_FOUND, servers)
    copies = []
    for part, file in enumerate(listing.files):
        target = workspace.inputs / f"{prefix}-{part:05}{_suffix(file.name)}"
        copies.append(fetch(file, target, workspace, servers))
    return copies, listing.ignored


def check_sources(
    copies: tuple[InputCopy, ...],
    config: DatasetConfig,
    problems: ProblemLog,
    *,
    pairs: bool = False,
    workers: Workers = INLINE,
) -> Checked:
    """Parse every row of every copy; what is wrong goes to `problems`, the rows to a file beside the copies. `pairs`:
    every row is to be a preference, else none may be.

    Raises StageError (DatasetUnreadable, DatasetTooSmall) when a file as a whole is of no use.
    """
    origins: list[int] = []
    unused: set[str] = set()
    read = [0] * (1 + max(copy.source for copy in copies))

    def parsed() -> Iterator[Packed]:
        for found in workers.map(partial(_parse_block, config=config, pairs=pairs), _blocks(copies, config)):
            read[found.source] += len(found.rows.sizes) + len(found.bad)
            origins.extend([found.source] * len(found.rows.sizes))
            unused.update(found.unused)
            for row, code in found.bad:
                problems.reject(code, row)
            yield found.rows

    # a workspace has room for its rows; the disk of a node may not
    rows = RowStore.of(parsed(), copies[0].path.parent)
    # a folder may hold files without rows, as programs that write in parts leave them
    for copy in copies:
        if not read[copy.source]:
            message = f"{copy.name} is empty"
            raise StageError(StageFailure.DATASET_TOO_SMALL, message, "write at least one row into it")
    return Checked(rows, tuple(origins), copies, tuple(sorted(unused)), tuple(read))


@dataclass(frozen=True)
class _Parsed:
    """Of a block of records of one source the rows, place and code of each bad one, and columns that were not used."""

    source: int
    rows: Packed
    bad: Sequence[tuple[str, str]]
    unused: frozenset[str]


def _blocks(copies: Sequence[InputCopy], config: DatasetConfig) -> Iterator[tuple[int, Block]]:
    for copy in copies:
        for block in read_blocks(copy.path, copy.name, config.columns):
            yield copy.source, block


def _parse_block(found: tuple[int, Block], config: DatasetConfig, *, pairs: bool) -> _Parsed:
    source, block = found
    rows, bad, unused = [], [], set[str]()
    for record in block:
        try:
            conversation, ignored = _parse(record, config, pairs=pairs)
            rows.append(conversation)
            unused |= ignored
        except RowError as error:
            bad.append((record.row, error.code))
    return _Parsed(source, pack(rows), bad, frozenset(unused))


def _suffix(path: str) -> str:
    found = _SUFFIXES.search(PurePosixPath(path).name)
    return (found.group() if found else "") or ".jsonl"


def _parse(record: Record, config: DatasetConfig, *, pairs: bool) -> tuple[Conversation, frozenset[str]]:
    if record.error:
        raise RowError(record.error)
    parsed = parse_row(record.value, config.format, pairs=pairs)
    if (parsed.rejected is not None) != pairs:
        raise RowError("PreferenceMissing" if pairs else "PreferenceUnexpected")
    messages = parsed.messages if parsed.plain else with_system_prompt(parsed.messages, config.system_prompt)
    return Conversation(record.row, messages, parsed.tools, parsed.plain, parsed.rejected, parsed.topic), parsed.unused
