"""How many rows of each source are used: a source with a share gives that percentage of all rows, but at least one row,
the others all they have. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from vernacular_trainer.contract import FileSource, PlanValue
from vernacular_trainer.data.rows import Conversation

# in lines of the plan, of which there may be many, in characters
# how lines of the plan begin that tell of a share; the name of the source follows
SHARE_OF = "share of "
_NAME_LENGTH = 60


@dataclass(frozen=True)
class SourceRows:
    """What became of one source: of the `rows` that were read, those that cannot be trained on are `bad`; of the others
    `used` are kept, and `left_out` are more than its share, which was meant to be `wanted` rows.
    """

    name: str
    rows: int
    bad: int
    used: int
    left_out: int
    wanted: int
    share_percent: int | None

    def plan_value(self) -> PlanValue:
        """The share as a line of the plan."""
        value = f"{self.used:,} of {self.used + self.left_out:,} rows"
        name = self.name if len(self.name) <= _NAME_LENGTH else f"...{self.name[-_NAME_LENGTH:]}"
        return PlanValue(f"{SHARE_OF}{name}", value, f"sharePercent {self.share_percent} of all rows")


@dataclass(frozen=True)
class Mixed:
    """Indexes of rows that are kept and that are left out, in their order, and the counts of each source."""

    kept: tuple[int, ...]
    left_out: tuple[int, ...]
    sources: tuple[SourceRows, ...]


def mix(
    rows: Sequence[Conversation], origins: Sequence[int], read: Sequence[int], sources: Sequence[FileSource], seed: int
) -> Mixed:
    """Choose rows of sources with a share by a hash of their content: rows that are appended change little.

    `origins`: of each row the index of its source. `read`: of each source how many rows there were, bad ones too.
    """
    members: list[list[int]] = [[] for _ in sources]
    for index, origin in enumerate(origins):
        members[origin].append(index)
    shares = sum(source.share_percent or 0 for source in sources)
    whole = sum(len(found) for found, source in zip(members, sources, strict=True) if not source.share_percent)
    left_out: list[int] = []
    counts = []
    for source, found, rows_read in zip(sources, members, read, strict=True):
        wanted = len(found)
        if source.share_percent:
            wanted = max(round(whole * source.share_percent / (100 - shares)), min(whole, 1))
            left_out += sorted(found, key=lambda index: (_rank(rows[index], seed), index))[wanted:]
        used = min(wanted, len(found))
        bad = rows_read - len(found)
        share = source.share_percent
        counts.append(SourceRows(source.name, rows_read, bad, used, len(found) - used, wanted, share))
    gone = set(left_out)
    kept = tuple(index for index in range(len(rows)) if index not in gone)
    return Mixed(kept, tuple(sorted(gone)), tuple(counts))


def _rank(row: Conversation, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {row.digest}".encode()).digest()
