"""Questions that are asked twice and answered differently: other numbers, or other words altogether."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.data.checks.keys import first_of_kind
from vernacular_trainer.data.checks.traits import Traits
from vernacular_trainer.data.checks.words import numbers, shingles, similarity
from vernacular_trainer.data.rows import Conversation

_OTHER_ANSWER = 0.2


def asked_twice(traits: Traits) -> NDArray[np.int64]:
    """Pairs, shape (pairs, 2), of the first row with a question and each later one whose answer is not the same."""
    first = first_of_kind(traits.asked)
    # a row that is the first of its kind has its own answer
    later = np.flatnonzero((traits.answers != traits.answers[first]).any(axis=1))
    return np.stack([first[later], later], axis=1)


def difference(first: Conversation, second: Conversation) -> str:
    """The code of how two answers to one question differ, "" when they do not."""
    left, right = first.answer, second.answer
    given, other = numbers(left), numbers(right)
    if given and other and given != other:
        return "ContradictingNumbers"
    return "ContradictingAnswers" if similarity(shingles(left), shingles(right)) < _OTHER_ANSWER else ""
