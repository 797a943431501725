"""Checked rows of training data: conversations of messages, and what makes two of them the same. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


class RowError(ValueError):
    """A row cannot be used; `code` is a key of findings.FINDINGS."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `weight` 0: an answer that is read but not trained. `tool_calls`: what an assistant
    calls, as objects that chat templates know; `name`: the tool that a tool message is from.
    """

    role: Role
    content: str
    weight: int = 1
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str = ""
    name: str = ""

    @property
    def trained(self) -> bool:
        """Whether the model learns to say this."""
        return self.role == "assistant" and self.weight == 1

    def to_dict(self) -> dict[str, Any]:
        """As chat templates take it."""
        document: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            document["tool_calls"] = list(self.tool_calls)
        if self.tool_call_id:
            document["tool_call_id"] = self.tool_call_id
        if self.name:
            document["name"] = self.name
        return document


@dataclass(frozen=True, slots=True)
class Conversation:
    """A checked training row. `row` names where it is: the file as the user wrote it and the 1-based line, or sheet
    and cell. `tools`: definitions that the model may call. `plain`: text without turns, held as one message.
    `rejected`: of a preference, the answer that the last one is preferred to. `topic`: what the row is about, ""
    when it does not say.
    """

    row: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    plain: bool = False
    rejected: Message | None = None
    topic: str = ""

    @property
    def everything(self) -> tuple[Message, ...]:
        """All messages, a rejected answer included."""
        return (*self.messages, *((self.rejected,) if self.rejected else ()))

    @property
    def with_rejected(self) -> Conversation:
        """The same row with the rejected answer in the place of the chosen one."""
        assert self.rejected
        return replace(self, messages=(*self.messages[:-1], self.rejected), rejected=None)

    @property
    def question(self) -> str:
        """Everything before the last answer, normalised; "" for plain text."""
        return normalised("\n".join(f"{m.role}: {m.content}" for m in self.messages[: self.last_answer]))

    @property
    def asked(self) -> str:
        """The turns before the last answer, normalised, without the system message; "" for plain text."""
        return self.asked_of([normalised(message.content) for message in self.messages[: self.last_answer]])

    def asked_of(self, texts: Sequence[str]) -> str:
        """The same, for who has the texts normalised."""
        turns = zip(self.messages[: self.last_answer], texts, strict=False)
        return " ".join([text for message, text in turns if text and message.role != "system"])

    @property
    def system(self) -> str:
        """The text of the system message, "" when there is none."""
        return self.messages[0].content if self.messages[0].role == "system" else ""

    @property
    def answer(self) -> str:
        """The last answer, normalised."""
        return normalised(self.messages[self.last_answer].content)

    @property
    def digest(self) -> str:
        """Equal for rows that train the same but for case and white space."""
        return self.digest_of([normalised(message.content) for message in self.everything])

    def digest_of(self, texts: Sequence[str]) -> str:
        """The digest, for who has all texts normalised."""
        lines = [
            f"{message.role}: {text}{_others(message)}" for message, text in zip(self.everything, texts, strict=True)
        ]
        return hashlib.sha256(("\n".join(lines) + _written(self.tools)).encode()).hexdigest()

    @property
    def last_answer(self) -> int:
        """Index of the last message of an assistant."""
        index = len(self.messages) - 1
        while self.messages[index].role != "assistant":
            index -= 1
        return index


def normalised(text: str) -> str:
    """Lower case with single spaces."""
    return " ".join(text.split()).casefold()


def with_system_prompt(messages: tuple[Message, ...], prompt: str) -> tuple[Message, ...]:
    """The messages with `prompt` before them; one that begins with a system message of its own keeps that."""
    if not prompt or messages[0].role == "system":
        return messages
    return (Message("system", prompt), *messages)


def _others(message: Message) -> str:
    """What a message has besides its role and its text."""
    if not (message.tool_calls or message.tool_call_id or message.name or message.weight != 1):
        return ""
    others = {key: value for key, value in message.to_dict().items() if key not in ("role", "content")}
    return _written(others if message.weight == 1 else {**others, "weight": message.weight})


def _written(value: Sequence[dict[str, Any]] | dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True) if value else ""
