"""One line of training data to one conversation. Pure; what is wrong is said by code, never by quoting the row."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")

# Each format by the keys that show it; other columns of a row (ids, topics) are allowed, reported and not used.
_FORMATS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("messages",), ()),
    (("prompt", "completion"), ()),
    (("instruction", "output"), ("input",)),
)

ADVICE = {
    "BrokenJson": "write one complete JSON object per line (JSON Lines)",
    "NotAnObject": "write one JSON object per line, not a list or a bare value",
    "UnknownFormat": 'give every row "messages", or "prompt" and "completion", or "instruction" and "output"',
    "AmbiguousFormat": "keep the keys of one format per row",
    "WrongType": "give texts as JSON strings, and messages as a list of objects with role and content",
    "UnknownRole": "use the roles system, user and assistant",
    "UnknownMessageField": "give each message role and content only",
    "NoAssistantTurn": "end the row with the answer that the model shall learn, in a message of role assistant",
    "EmptyTurn": "give every user and assistant message a text, or remove the row",
    "TemplateRefused": "use an order of roles that the model's chat template allows: user and assistant in turn, "
    "and a system message only first, if at all",
}


class RowError(ValueError):
    """A row cannot be used; `code` is a key of ADVICE."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    """A checked training row. `row` names where it is: the file as the user wrote it and the 1-based line."""

    row: str
    messages: tuple[Message, ...]

    @property
    def question(self) -> str:
        """Everything before the last answer, normalised."""
        last = max(i for i, message in enumerate(self.messages) if message.role == "assistant")
        return normalised("\n".join(f"{m.role}: {m.content}" for m in self.messages[:last]))

    @property
    def answer(self) -> str:
        """The last answer, normalised."""
        return normalised(next(m.content for m in reversed(self.messages) if m.role == "assistant"))

    @property
    def digest(self) -> str:
        """Equal for rows that say the same but for case and white space."""
        text = "\n".join(f"{m.role}: {normalised(m.content)}" for m in self.messages)
        return hashlib.sha256(text.encode()).hexdigest()


def normalised(text: str) -> str:
    """Lower case with single spaces."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def parse_row(value: Any) -> tuple[Message, ...]:
    """The messages of one row in any known format. Raises RowError."""
    if not isinstance(value, dict):
        raise RowError("NotAnObject")
    required, optional = _detect(value)
    if required == ("messages",):
        messages = parse_messages(value["messages"])
    else:
        texts = {key: _text(value[key]) for key in (*required, *optional) if value.get(key) is not None}
        question = "\n\n".join(texts[key] for key in ("prompt", "instruction", "input") if texts.get(key))
        answer = texts.get("completion", "") or texts.get("output", "")
        messages = (Message("user", question), Message("assistant", answer))
    _check_turns(messages)
    return messages


def unused_columns(value: dict[str, Any]) -> set[str]:
    """Columns of a usable row that no format knows."""
    required, optional = _detect(value)
    return set(value) - {*required, *optional}


def parse_messages(value: Any) -> tuple[Message, ...]:
    """A list of `{"role", "content"}` objects. Raises RowError."""
    if not isinstance(value, list) or not value:
        raise RowError("WrongType")
    return tuple(_message(item) for item in value)


def _detect(value: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = [(required, optional) for required, optional in _FORMATS if all(key in value for key in required)]
    if not found:
        raise RowError("UnknownFormat")
    if len(found) > 1:
        raise RowError("AmbiguousFormat")
    return found[0]


def _message(item: Any) -> Message:
    if not isinstance(item, dict):
        raise RowError("WrongType")
    if any(item[key] is not None for key in item.keys() - {"role", "content"}):
        raise RowError("UnknownMessageField")
    role = _text(item.get("role"))
    if role not in ROLES:
        raise RowError("UnknownRole")
    return Message(role, _text(item.get("content")))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RowError("WrongType")
    return value


def _check_turns(messages: tuple[Message, ...]) -> None:
    if messages[-1].role != "assistant":
        raise RowError("NoAssistantTurn")
    if any(not message.content.strip() for message in messages if message.role != "system"):
        raise RowError("EmptyTurn")
