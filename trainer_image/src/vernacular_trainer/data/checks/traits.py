"""What checks compare rows by, in columns: of a million rows they fit into memory where their texts do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.keys import NO_KEY, Keys, key, keys_of
from vernacular_trainer.data.checks.words import key_of_words, words
from vernacular_trainer.data.rows import Conversation, normalised


@dataclass(frozen=True)
class Traits:
    """Columns with a value for each row.

    `same`: equal for rows that train the same, but for case and white space. `asked`: for rows that ask the same in
    nearly the same words of the same system message; NO_KEY for those that cannot contradict another. `worded`: for
    rows that ask in the same words. `answers`: for rows with the same answer. `lengths`: of the last message, in
    characters.
    """

    same: Keys
    asked: Keys
    worded: Keys
    answers: Keys
    lengths: NDArray[np.int64]

    def select(self, indexes: Sequence[int]) -> Traits:
        """The columns of some of the rows."""
        rows = np.array(indexes, np.int64)
        return Traits(self.same[rows], self.asked[rows], self.worded[rows], self.answers[rows], self.lengths[rows])


def traits_of(rows: Iterable[Conversation]) -> Traits:
    """The traits of some rows."""
    found = [_traits(row) for row in rows]
    same, asked, worded, answers, lengths = zip(*found, strict=True) if found else ((),) * 5
    return Traits(keys_of(same), keys_of(asked), keys_of(worded), keys_of(answers), np.array(lengths, np.int64))


def joined(parts: Sequence[Traits]) -> Traits:
    """The traits of all rows, from those of blocks of them."""
    columns = zip(*((p.same, p.asked, p.worded, p.answers, p.lengths) for p in (traits_of(()), *parts)), strict=True)
    return Traits(*map(np.concatenate, columns))


def _traits(row: Conversation) -> tuple[bytes, bytes, bytes, bytes, int]:
    texts = [normalised(message.content) for message in row.everything]
    asked = row.asked_of(texts)
    found = words(asked)
    comparable = asked and not (row.plain or row.rejected)
    return (
        bytes.fromhex(row.digest_of(texts))[: len(NO_KEY)],
        # words have no line breaks: no other words and system message give the same text
        key(f"{' '.join(key_of_words(found))}\n{row.system}") if comparable else NO_KEY,
        key(" ".join(found)),
        key(texts[row.last_answer]),
        len(row.messages[-1].content),
    )
