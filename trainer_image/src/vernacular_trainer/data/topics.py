"""What rows are about, by their column `topic`: how many rows each topic has, and which have hardly any, or most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.row_store import map_rows, stored
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.split import Split
from vernacular_trainer.data.workers import INLINE, Workers

# what fewer rows share is text of these rows, and no name of a topic
_SHARED_BY = 3
# below this a share says nothing
_ENOUGH_FOR_SHARES = 20
_MOST_PERCENT = 80
# of the rows that each topic would have if all had as many
_RARE_PART = 0.1
_REPORTED = 100
_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class Topics:
    """The topic of each row, "" where it has none."""

    of_rows: tuple[str, ...]

    @property
    def counts(self) -> Counter[str]:
        """Rows of each topic, the most frequent one first; rows without one are left out."""
        found = Counter(self.of_rows)
        found.pop("", None)
        return Counter(dict(found.most_common()))

    @property
    def names(self) -> frozenset[str]:
        """Topics that several rows share: labels, which may be told where text of a row may not."""
        return frozenset(name for name, count in self.counts.items() if count >= _SHARED_BY)


def topics_of(rows: Sequence[Conversation], workers: Workers = INLINE) -> Topics:
    """Look at all rows."""
    known: dict[str, str] = {}
    blocks = map_rows(_topics, stored(rows), workers)
    return Topics(tuple(known.setdefault(topic, topic) for block in blocks for topic in block))


def _topics(rows: Iterable[Conversation]) -> list[str]:
    return [row.topic for row in rows]


def note_topics(
    topics: Topics, rows: Sequence[Conversation], split: Split, problems: ProblemLog
) -> list[dict[str, Any]]:
    """Note TopicRare and TopicDominant, each at the first row of the topic; the largest topics for the report."""
    counts, labelled = topics.counts, sum(topics.counts.values())
    # a column with another text in nearly every row names no topics
    if len(counts) > 1 and _ENOUGH_FOR_SHARES <= labelled >= 2 * len(counts):
        few = max(_SHARED_BY, _RARE_PART * labelled / len(counts))
        first: dict[str, int] = {}
        for index, name in enumerate(topics.of_rows):
            first.setdefault(name, index)
        for name, count in counts.items():
            if count < few:
                problems.add("TopicRare", rows[first[name]].row)
            elif 100 * count >= _MOST_PERCENT * labelled:
                problems.add("TopicDominant", rows[first[name]].row)
    held_out = Counter(topics.of_rows[index] for index in split.validation)
    return [
        {"topic": masked(name)[:_NAME_CHARACTERS], "rows": count, "held_out": held_out[name]}
        for name, count in counts.most_common(_REPORTED)
    ]
