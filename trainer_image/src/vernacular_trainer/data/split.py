"""Which rows are held out: decided for each group of rows by a hash of its content and the seed, not by counting.

So a row that is held out stays held out when rows are appended, and versions of a data set can be compared. The price:
the part that is held out is met on average, not to the row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.similarity import components
from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.rows import Conversation

# shorter answers, "Yes." and its like, do not make two rows say the same fact
_ANSWER_WORDS = 3
# the gain, in percentage points, that an evaluation should be able to prove
GOAL_POINTS = 10


@dataclass(frozen=True)
class Split:
    """Indexes of the rows, in their order. With Facts, `worded_once`: rows whose fact no other row words differently;
    `untaught`: those of them that are held out all the same, because there is nothing else to hold out.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    worded_once: tuple[int, ...] = ()
    untaught: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Group:
    """Rows that are held out together, with a chance of `weight` times the wanted part."""

    key: str
    rows: tuple[int, ...]
    weight: int = 1


def split_rows(
    rows: Sequence[Conversation], similar: Sequence[tuple[int, int]], percent: int, teaches: str, seed: int
) -> Split:
    """Hold out about `percent` of the rows, at least one when it is not 0. `similar`: pairs of rows that ask nearly the
    same; they and rows with the same question or the same fact are one cluster.

    Facts: of a cluster one wording is held out, with all rows that ask it in the same words; the others teach it.
    Clusters with one wording are held out only when there are no others. Skill: a cluster is held out as a whole.
    """
    clusters = _clusters(rows, similar, teaches)
    if teaches == "Facts":
        wordings = [_wordings(rows, cluster) for cluster in clusters]
        reworded = [_candidate(rows, found, seed) for found in wordings if len(found) > 1]
        once = [_Group(asked_key(rows[found[0][0]]), found[0]) for found in wordings if len(found) == 1]
        held = _hold_out(reworded or once, len(rows), percent, seed)
        worded_once = tuple(sorted(index for group in once for index in group.rows))
        untaught = () if reworded else tuple(sorted(held))
    else:
        held = _hold_out([_Group(asked_key(rows[c[0]]), c) for c in clusters], len(rows), percent, seed)
        worded_once, untaught = (), ()
    train = tuple(index for index in range(len(rows)) if index not in held)
    return Split(train, tuple(sorted(held)), worded_once, untaught)


def provable_points(questions: int) -> int:
    """Gains above so many percentage points are told from chance, at 95 %, when a quarter of the answers change.

    1.96 standard errors of the mean of `questions` paired differences with a variance of 0.25; 100 for no questions.
    """
    return min(100, math.ceil(98 / math.sqrt(questions))) if questions else 100


def questions_for(points: int) -> int:
    """How many questions prove gains above so many percentage points."""
    return math.ceil((98 / points) ** 2)


def _clusters(rows: Sequence[Conversation], similar: Sequence[tuple[int, int]], teaches: str) -> list[tuple[int, ...]]:
    first: dict[str, int] = {}
    same = [(first.setdefault(key, index), index) for index, row in enumerate(rows) for key in _keys(row, teaches)]
    clusters: dict[int, list[int]] = {}
    for index, cluster in enumerate(components(len(rows), [*same, *similar])):
        clusters.setdefault(cluster, []).append(index)
    return [tuple(cluster) for cluster in clusters.values()]


def _keys(row: Conversation, teaches: str) -> list[str]:
    """What rows of one cluster share, besides nearly the same question."""
    keys = [f"q {asked_key(row)}"]
    if teaches == "Facts" and not row.plain and len(words(row.answer)) >= _ANSWER_WORDS:
        keys.append(f"a {row.answer}")
    return keys


def asked_key(row: Conversation) -> str:
    """Equal for rows that ask the same in the same words, whatever they answer; for plain texts that are the same."""
    return row.digest if row.plain else " ".join(words(row.asked)) or row.question


def _wordings(rows: Sequence[Conversation], cluster: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The rows of a cluster, those that ask the same together, in the order of the files."""
    found: dict[str, list[int]] = {}
    for index in cluster:
        found.setdefault(asked_key(rows[index]), []).append(index)
    return [tuple(copies) for copies in found.values()]


def _candidate(rows: Sequence[Conversation], wordings: list[tuple[int, ...]], seed: int) -> _Group:
    """The wording of a cluster that is held out if any is: one of the first two, so that later ones change nothing."""
    chosen = min(wordings[:2], key=lambda copies: _chance(asked_key(rows[copies[0]]), seed))
    first = rows[wordings[0][0]]
    # the answer alone would give all facts that are answered "Yes." the same chance
    return _Group(f"{first.answer}\n{asked_key(first)}", chosen, len(wordings))


def _hold_out(groups: list[_Group], rows: int, percent: int, seed: int) -> set[int]:
    """The rows of the groups whose chance falls below the wanted part; never a group that is larger than that part."""
    largest = max(1, round(rows * percent / 100))
    allowed = [group for group in groups if len(group.rows) <= largest]
    if not percent or not allowed or rows < 2:
        return set()
    held = [group for group in allowed if 100 * _chance(group.key, seed) < percent * group.weight]
    chosen = held or [min(allowed, key=lambda group: _chance(group.key, seed) / group.weight)]
    return {index for group in chosen for index in group.rows}


def _chance(key: str, seed: int) -> float:
    """A number from 0 to 1 that the key and the seed decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64
