"""The company's own terms: a YAML file with `terms`, of which each has a term and a definition."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.rows import normalised
from vernacular_trainer.errors import StageError

_KEYS = {"ask", "askOutside", "terms"}
_TERM_KEYS = {"term", "definition", "synonyms", "wrongMeanings", "neverSay"}
_ASK = "What does {term} mean?"
_ASK_OUTSIDE = "In everyday language, outside of any company, what does {term} mean?"
MOST_TERMS = 1000
_ADVICE = 'write YAML like {"terms": [{"term": "bench", "definition": "time between two projects"}]}'


@dataclass(frozen=True)
class Term:
    """A term and what it means in the company. `synonyms`: other names; `wrong_meanings`: what it means elsewhere;
    `never_say`: what must not be said.
    """

    term: str
    definition: str
    synonyms: tuple[str, ...] = ()
    wrong_meanings: tuple[str, ...] = ()
    never_say: tuple[str, ...] = ()


@dataclass(frozen=True)
class Glossary:
    """All terms, and how a person asks for one, in the company (`ask`) and outside of it."""

    terms: tuple[Term, ...] = ()
    ask: str = _ASK
    ask_outside: str = _ASK_OUTSIDE

    def question(self, term: Term) -> str:
        """What a colleague asks."""
        return self.ask.replace("{term}", term.term)

    def question_outside(self, term: Term) -> str:
        """What anybody else asks."""
        return self.ask_outside.replace("{term}", term.term)


def parse_glossary(text: str, name: str) -> Glossary:
    """The glossary of a YAML text; `name` is the file as the user wrote it.

    Raises StageError (GlossaryUnreadable) that names the line or the term.
    """
    try:
        document = yaml.load(text, Loader=_Strict)  # noqa: S506 - a safe loader
        _require_whole(document)
        return _glossary(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise _unreadable(f"{name}{line}: {error.problem or 'not valid YAML'}") from None
    except UnicodeEncodeError:
        raise _unreadable(f"{name}: a text holds half of a character; write it as it is, not as \\u escapes") from None
    except (yaml.YAMLError, RecursionError, KeyError, IndexError, AttributeError, TypeError):
        # explicit tags of YAML are followed without a look at what they are put on
        raise _unreadable(f"{name}: not valid YAML") from None
    except ValueError as error:
        raise _unreadable(f"{name}: {error}") from None


def _require_whole(document: Any) -> None:
    """YAML can escape halves of characters, which no tokenizer can hold, and lists that hold themselves."""
    try:
        text = json.dumps(document, ensure_ascii=False, default=str)
    except ValueError:
        raise yaml.YAMLError from None
    text.encode()


class _Strict(yaml.SafeLoader):
    """A key that is written twice is a mistake, not a choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, "a key is written twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _glossary(document: Any) -> Glossary:
    if not isinstance(document, dict) or not document.keys() <= _KEYS:
        raise ValueError("must be an object with terms, and ask and askOutside if wanted")
    listed = document.get("terms")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_TERMS:
        raise ValueError(f"terms must be a list of 1 to {MOST_TERMS} terms")
    terms = tuple(_term(item, number) for number, item in enumerate(listed, start=1))
    seen: dict[str, int] = {}
    for number, term in enumerate(terms, start=1):
        if (first := seen.setdefault(normalised(term.term), number)) != number:
            raise ValueError(f"term {number} is the same as term {first}")
    return Glossary(terms, _template(document, "ask", _ASK), _template(document, "askOutside", _ASK_OUTSIDE))


def _term(item: Any, number: int) -> Term:
    if not isinstance(item, dict) or not item.keys() <= _TERM_KEYS:
        raise ValueError(f"term {number} must be an object with term, definition, synonyms, wrongMeanings, neverSay")
    return Term(
        term=_text(item.get("term"), f"term {number}: term"),
        definition=_text(item.get("definition"), f"term {number}: definition"),
        synonyms=_texts(item, "synonyms", number),
        wrong_meanings=_texts(item, "wrongMeanings", number),
        never_say=_texts(item, "neverSay", number),
    )


def _texts(item: dict[str, Any], key: str, number: int) -> tuple[str, ...]:
    found = item.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"term {number}: {key} must be a list of texts")
    return tuple(_text(text, f"term {number}: {key}") for text in found)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} must be a text; put numbers, dates, yes and no between quotation marks")
    return value.strip()


def _template(document: dict[str, Any], key: str, default: str) -> str:
    text = document.get(key, default)
    if not isinstance(text, str) or "{term}" not in text:
        raise ValueError(f"{key} must be a question with {{term}} in it")
    return text


def _unreadable(message: str) -> StageError:
    return StageError(StageFailure.GLOSSARY_UNREADABLE, message, _ADVICE)
