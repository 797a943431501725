"""Which rows are held out: decided for each group of rows by a hash of its content and the seed, not by counting.

So a row that is held out stays held out when rows are appended, and versions of a data set can be compared. The price:
the part that is held out is met on average, not to the row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.keys import NO_KEY, Keys, first_of_kind, key, keys_of
from vernacular_trainer.data.checks.similarity import components
from vernacular_trainer.data.checks.words import has_words, words
from vernacular_trainer.data.row_store import map_rows, stored
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.workers import INLINE, Workers

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
class _Columns:
    """A value for each row. `worded`: equal for rows that ask the same in the same words, whatever they answer, and for
    plain texts that are the same; `taught`: for rows with the same answer, if that is long enough to be a fact.
    `wording_chance` and `fact_chance`: numbers from 0 to 1 that the wording, or wording and answer, decide together
    with the seed. `topic`: equal for rows of one topic.
    """

    worded: Keys
    taught: Keys
    topic: Keys
    wording_chance: NDArray[np.float64]
    fact_chance: NDArray[np.float64]


@dataclass(frozen=True)
class _Groups:
    """Rows that are held out together: of each group its `leader`, the row that stands for it, how many rows it has,
    its chance, the `weights` of the wanted part that this is compared with, and a number for each topic, negative for
    none.
    """

    leaders: NDArray[np.int64]
    sizes: NDArray[np.int64]
    chances: NDArray[np.float64]
    weights: NDArray[np.int64]
    topics: NDArray[np.int64]


def split_rows(
    rows: Sequence[Conversation],
    similar: Sequence[tuple[int, int]],
    percent: int,
    teaches: str,
    seed: int,
    workers: Workers = INLINE,
) -> Split:
    """Hold out about `percent` of the rows, at least one when it is not 0. `similar`: pairs of rows that ask nearly the
    same; they and rows with the same question or the same fact are one cluster.

    Facts: of a cluster one wording is held out, with all rows that ask it in the same words; the others teach it.
    Clusters with one wording are held out only when there are no others. Skill: a cluster is held out as a whole.
    Of each topic of which `percent` is a cluster or more, at least one is held out.
    """
    find = partial(_columns, teaches=teaches, seed=seed)
    columns = _joined([find(()), *map_rows(find, stored(rows), workers)])
    wording = first_of_kind(columns.worded)
    cluster = _clusters((wording, first_of_kind(columns.taught)), similar)
    if teaches != "Facts":
        groups = _whole_clusters(cluster, columns)
        held = _of_leaders(_hold_out(groups, len(rows), percent), cluster)
        return Split(_indexes(~held), _indexes(held))
    once, reworded = _wordings(wording, cluster, columns)
    held = _of_leaders(_hold_out(reworded if len(reworded.leaders) else once, len(rows), percent), wording)
    worded_once = _of_leaders(once.leaders, wording)
    return Split(
        _indexes(~held), _indexes(held), _indexes(worded_once), () if len(reworded.leaders) else _indexes(held)
    )


def provable_points(questions: int) -> int:
    """Gains above so many percentage points are told from chance, at 95 %, when a quarter of the answers change.

    1.96 standard errors of the mean of `questions` paired differences with a variance of 0.25; 100 for no questions.
    """
    return min(100, math.ceil(98 / math.sqrt(questions))) if questions else 100


def questions_for(points: int) -> int:
    """How many questions prove gains above so many percentage points."""
    return math.ceil((98 / points) ** 2)


def _columns(rows: Iterable[Conversation], teaches: str, seed: int) -> _Columns:
    worded, taught, topics, chances = [], [], [], []
    for row in rows:
        asked, answer = asked_key(row), row.answer
        worded.append(key(asked))
        is_fact = teaches == "Facts" and not row.plain and has_words(answer, _ANSWER_WORDS)
        taught.append(key(answer) if is_fact else NO_KEY)
        topics.append(key(row.topic.casefold()) if row.topic else NO_KEY)
        # the answer alone would give all facts that are answered "Yes." the same chance
        chances.append((_chance(asked, seed), _chance(f"{answer}\n{asked}", seed)))
    wording_chance, fact_chance = np.array(chances, np.float64).reshape(-1, 2).T
    return _Columns(keys_of(worded), keys_of(taught), keys_of(topics), wording_chance, fact_chance)


def _joined(parts: Sequence[_Columns]) -> _Columns:
    columns = zip(*((p.worded, p.taught, p.topic, p.wording_chance, p.fact_chance) for p in parts), strict=True)
    return _Columns(*map(np.concatenate, columns))


def asked_key(row: Conversation) -> str:
    """Equal for rows that ask the same in the same words, whatever they answer; for plain texts that are the same."""
    return row.digest if row.plain else " ".join(words(row.asked)) or row.question


def _chance(text: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big") / 2**64


def _clusters(firsts: Sequence[NDArray[np.int64]], similar: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The first row of the cluster of each row. `firsts`: for each row a row that is of the same cluster."""
    rows = len(firsts[0])
    joins = [np.array(similar, np.int64).reshape(-1, 2)]
    for first in firsts:
        later = np.flatnonzero(first != np.arange(rows))
        joins.append(np.stack([first[later], later], axis=1))
    return np.array(components(rows, np.concatenate(joins).tolist()), np.int64)


def _whole_clusters(cluster: NDArray[np.int64], columns: _Columns) -> _Groups:
    leaders, sizes = np.unique(cluster, return_counts=True)
    return _Groups(leaders, sizes, columns.wording_chance[leaders], np.ones_like(leaders), _topics(columns)[leaders])


def _topics(columns: _Columns) -> NDArray[np.int64]:
    """Of each row the first one of its topic, -1 for a row without."""
    return np.where(columns.topic.any(axis=1), first_of_kind(columns.topic), -1)


def _wordings(wording: NDArray[np.int64], cluster: NDArray[np.int64], columns: _Columns) -> tuple[_Groups, _Groups]:
    """The only wordings of clusters, and of each other cluster the one that is held out if any is: one of the first
    two, so that later ones change nothing.
    """
    leaders, sizes = np.unique(wording, return_counts=True)
    order = np.lexsort((leaders, cluster[leaders]))
    leaders, sizes = leaders[order], sizes[order]
    _, first, counts = np.unique(cluster[leaders], return_index=True, return_counts=True)
    chances, topics = columns.wording_chance[leaders], _topics(columns)[leaders]

    only = first[counts == 1]
    once = _Groups(leaders[only], sizes[only], chances[only], np.ones_like(only), topics[only])

    several, weights = first[counts > 1], counts[counts > 1]
    chosen = np.where(chances[several] <= chances[several + 1], several, several + 1)
    fact_chances = columns.fact_chance[leaders[several]]
    return once, _Groups(leaders[chosen], sizes[chosen], fact_chances, weights, topics[chosen])


def _hold_out(groups: _Groups, rows: int, percent: int) -> NDArray[np.int64]:
    """Leaders of the groups whose chance falls below the wanted part, and of topics that would have none the one that
    comes nearest; never a group that is larger than that part.
    """
    allowed = groups.sizes <= max(1, round(rows * percent / 100))
    if not percent or not allowed.any() or rows < 2:
        return groups.leaders[:0]
    held = allowed & (100 * groups.chances < percent * groups.weights)
    nearness = np.where(allowed, groups.chances / groups.weights, np.inf)
    held[_nearest_of_topics(groups, allowed, held, nearness, percent)] = True
    if not held.any():
        held[nearness.argmin()] = True
    return groups.leaders[held]


def _nearest_of_topics(
    groups: _Groups,
    allowed: NDArray[np.bool_],
    held: NDArray[np.bool_],
    nearness: NDArray[np.float64],
    percent: int,
) -> NDArray[np.int64]:
    """Of each topic of which `percent` is a group or more, and of which none is held out, the group with the least
    `nearness`.
    """
    named = np.flatnonzero(allowed & (groups.topics >= 0))
    ordered = named[np.argsort(nearness[named], kind="stable")]
    _, first, of_topic = np.unique(groups.topics[ordered], return_index=True, return_inverse=True)
    wanted = np.bincount(of_topic, weights=groups.weights[ordered], minlength=len(first)) * percent >= 100
    without = np.bincount(of_topic, weights=held[ordered], minlength=len(first)) == 0
    nearest: NDArray[np.int64] = ordered[first[wanted & without]]
    return nearest


def _of_leaders(leaders: NDArray[np.int64], leader: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows have one of the leaders as `leader`."""
    return np.isin(leader, leaders)


def _indexes(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())
