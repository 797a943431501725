"""The company's terms in the rows: how many use each, and in which sense. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.words import content_key, words
from vernacular_trainer.data.glossary import Term
from vernacular_trainer.data.rows import Conversation

# a term in fewer rows is not known in other words
FEW_ROWS = 3
# an answer with so much of a definition gives its sense
_SENSE = 0.5


@dataclass(frozen=True)
class Coverage:
    """Rows that use a term (places among all rows), and those of them that use it as the company does, as others do, or
    that say what must not be said.
    """

    term: Term
    rows: tuple[int, ...]
    company_sense: tuple[int, ...]
    contradicting: tuple[int, ...]


def cover(terms: Sequence[Term], rows: Sequence[Conversation]) -> tuple[Coverage, ...]:
    """The coverage of each term. Only terms that begin with a word of a row are looked for in it."""
    names = [[_padded(name) for name in (term.term, *term.synonyms)] for term in terms]
    starting: dict[str, set[int]] = defaultdict(set)
    for index, found in enumerate(names):
        for name in found:
            starting[name.split(" ", 2)[1]].add(index)
    used: list[list[int]] = [[] for _ in terms]
    for place, row in enumerate(rows if terms else ()):
        text = _padded("\n".join(message.content for message in row.messages))
        begun = (starting[word] for word in set(text.split()) if word in starting)
        for index in sorted(set().union(*begun)):
            if any(name in text for name in names[index]):
                used[index].append(place)
    return tuple(_cover(term, places, rows) for term, places in zip(terms, used, strict=True))


def says(text: str, phrases: Sequence[str]) -> bool:
    """Whether a text has one of the phrases, word by word."""
    said = _padded(text)
    return any(_padded(phrase) in said for phrase in phrases)


def has_sense(term: Term, text: str) -> bool:
    """Whether a text says what the term means in the company: another name of it, or half of its definition. The words
    of the term itself say nothing: a question repeats them.
    """
    wanted = set(content_key(term.definition)) - set(content_key(term.term))
    shared = len(wanted & set(content_key(text)))
    return says(text, term.synonyms) or (bool(wanted) and shared >= _SENSE * len(wanted))


def _cover(term: Term, used: Sequence[int], rows: Sequence[Conversation]) -> Coverage:
    right = [place for place in used if has_sense(term, _answers(rows[place]))]
    wrong = [place for place in used if says(_answers(rows[place]), (*term.wrong_meanings, *term.never_say))]
    return Coverage(term, tuple(used), tuple(right), tuple(wrong))


def _answers(row: Conversation) -> str:
    return "\n".join(message.content for message in row.messages if message.role == "assistant")


def _padded(text: str) -> str:
    """The words of a text with single spaces around each, so that "in" holds for whole words alone."""
    return f" {' '.join(words(text))} "
