"""Held-out questions: JSON Lines with `question` or `messages`, `expected`, and optional demands on the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.checks.words import words
from vernacular_trainer.data.formats import parse_messages
from vernacular_trainer.data.rows import Conversation, Message, RowError, normalised, with_system_prompt
from vernacular_trainer.errors import StageError

_KEYS = {"question", "messages", "phrasings", "expected", "mustContain", "mustNotContain", "topic", "answerable"}
_ADVICE = (
    'write one JSON object per line: {"question": ..., "expected": ...}, optionally with mustContain (lists of texts), '
    "mustNotContain (a list), topic, answerable, phrasings (a list of other wordings of the question)"
)


@dataclass(frozen=True)
class Question:
    """A held-out question. An answer is right when it has one phrase of every `must_contain` group and none of
    `must_not_contain`; without groups, when it contains `expected`; when not `answerable`, when it declines.

    `phrasing` counts the wordings in which the question of one row is asked, from 0; `reworded` is the digest of the
    first of them ("": this is it).
    """

    row: str
    messages: tuple[Message, ...]
    expected: str
    must_contain: tuple[tuple[str, ...], ...] = ()
    must_not_contain: tuple[str, ...] = ()
    topic: str = ""
    answerable: bool = True
    phrasing: int = 0
    reworded: str = ""

    @property
    def unit(self) -> str:
        """Equal for all phrasings of one question, and for questions that are repeated."""
        return self.reworded or self.digest

    @property
    def asked(self) -> str:
        """What the user says last."""
        return self.messages[-1].content

    @property
    def digest(self) -> str:
        """Equal for questions of several data sets that ask the same, but for case and white space."""
        text = "\n".join(f"{item.role}: {normalised(item.content)}" for item in self.messages if item.role != "system")
        return hashlib.sha256(text.encode()).hexdigest()


def pieces(questions: Iterable[Question]) -> int:
    """How many questions are evidence of their own: phrasings and repeats count once."""
    return len({question.unit for question in questions})


def parse_questions(text: str, name: str, system_prompt: str = "") -> tuple[Question, ...]:
    """The questions of a JSON Lines text; `name` is the file as the user wrote it. `system_prompt` goes before each
    that has no system message.

    Raises StageError (QuestionsUnreadable) that names the first bad line.
    """
    questions: list[Question] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            # JSON can escape halves of characters, which no tokenizer can hold
            json.dumps(value, ensure_ascii=False).encode()
            questions.extend(_parse_phrasings(value, f"{name}:{number}", system_prompt))
        except RecursionError:
            raise _unreadable(f"{name}, line {number}: nested too deeply") from None
        except RowError as error:
            raise _unreadable(f"{name}, line {number}: {error.code}") from None
        except UnicodeEncodeError:
            raise _unreadable(f"{name}, line {number}: a text holds half of a character") from None
        except ValueError:
            # numbers of thousands of digits too
            raise _unreadable(f"{name}, line {number}: not valid JSON") from None
    if not questions:
        raise _unreadable(f"{name} has no questions")
    return tuple(questions)


def questions_of_rows(rows: Iterable[Conversation], most: int, topics: Container[str] = ()) -> str:
    """Held-out rows as a questions file of at most so many: asked is everything before the last answer, expected is
    that answer. What several rows ask is asked once: repeats prove nothing. `topics`: those that questions name.

    Rows with tools are left out: what is called cannot be scored as a text.
    """
    asked: dict[tuple[str, ...], str] = {}
    for row in rows:
        if len(asked) == most:
            break
        if _can_be_asked(row):
            asked.setdefault((row.system, *(words(row.asked) or [row.question])), _line(row, topics))
    return "".join(asked.values())


def _can_be_asked(row: Conversation) -> bool:
    turns = row.messages[: row.last_answer]
    with_tools = row.tools or any(message.tool_calls or message.role == "tool" for message in row.messages)
    return not with_tools and bool(turns) and turns[-1].role == "user"


def _line(row: Conversation, topics: Container[str]) -> str:
    asked = [message.to_dict() for message in row.messages[: row.last_answer]]
    document = {"messages": asked, "expected": row.messages[row.last_answer].content}
    topic = {"topic": row.topic} if row.topic in topics else {}
    return json.dumps({**document, **topic}, ensure_ascii=False) + "\n"


def _parse_phrasings(value: Any, row: str, system_prompt: str) -> Iterator[Question]:
    """The question in each of its wordings, with the system prompt."""
    if not isinstance(value, dict):
        raise RowError("not a JSON object")
    first = _parse_question(value, row)
    others = _phrases(value.get("phrasings", []), "phrasings must be a list of texts")
    if others and "question" not in value:
        raise RowError("phrasings need question, not messages")
    texts = {normalised(text) for text in (first.asked, *others)}
    if len(texts) <= len(others):
        raise RowError("phrasings repeat a wording")
    yield replace(first, messages=with_system_prompt(first.messages, system_prompt))
    for number, text in enumerate(others, start=1):
        messages = with_system_prompt((Message("user", text),), system_prompt)
        yield replace(first, messages=messages, phrasing=number, reworded=first.digest)


def _parse_question(value: dict[str, Any], row: str) -> Question:
    if not value.keys() <= _KEYS:
        raise RowError("an unknown key")
    answerable = value.get("answerable", True)
    if not isinstance(answerable, bool):
        raise RowError("answerable must be true or false")
    question = Question(
        row=row,
        messages=_parse_asked(value),
        expected=_string(value, "expected"),
        must_contain=_groups(value),
        must_not_contain=_phrases(value.get("mustNotContain", []), "mustNotContain must be a list of texts"),
        topic=_string(value, "topic"),
        answerable=answerable,
    )
    if answerable and not (question.expected.strip() or question.must_contain):
        raise RowError("neither expected nor mustContain says what a right answer is")
    return question


def _parse_asked(value: dict[str, Any]) -> tuple[Message, ...]:
    if ("question" in value) == ("messages" in value):
        raise RowError("needs either question or messages")
    if "question" in value:
        messages: tuple[Message, ...] = (Message("user", _string(value, "question")),)
    else:
        try:
            messages = parse_messages(value["messages"])
        except RowError:
            raise RowError("messages must be a list of objects with role and content") from None
        if any(message != Message(message.role, message.content) for message in messages):
            raise RowError("messages have role and content only")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise RowError("does not end with a user's question")
    return messages


def _string(value: dict[str, Any], key: str) -> str:
    text = value.get(key, "")
    if not isinstance(text, str):
        raise RowError(f"{key} must be a text")
    return text


def _groups(value: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    message = 'mustContain must be a list of lists of texts, like [["90-day", "90 days"]]'
    groups = value.get("mustContain", [])
    if not isinstance(groups, list):
        raise RowError(message)
    return tuple(_phrases(group, message, at_least=1) for group in groups)


def _phrases(value: Any, message: str, at_least: int = 0) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < at_least:
        raise RowError(message)
    if not all(isinstance(item, str) and item.strip() for item in value):
        raise RowError(message)
    return tuple(value)


def _unreadable(message: str) -> StageError:
    return StageError(StageFailure.QUESTIONS_UNREADABLE, message, _ADVICE)
