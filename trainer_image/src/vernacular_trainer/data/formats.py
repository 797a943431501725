"""The formats of rows: which keys show each, and how it becomes a conversation. Pure; what is wrong is said by code."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from typing import Any

from vernacular_trainer.data.rows import ROLES, Message, Role, RowError

AUTO = "Auto"


@dataclass(frozen=True)
class Shape:
    """The keys of one spelling of a format; all of `required` show it."""

    format: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


SHAPES = (
    Shape("Messages", ("messages",), ("tools",)),
    Shape("PromptCompletion", ("prompt", "completion"), ("system",)),
    Shape("PromptCompletion", ("question", "answer"), ("system",)),
    Shape("Instruction", ("instruction", "output"), ("input", "system")),
    Shape("Conversations", ("conversations",), ("tools", "system")),
    Shape("Text", ("text",)),
    Shape("Preference", ("prompt", "chosen", "rejected"), ("system", "tools")),
)
# in rows of every format
TOPIC = "topic"
COLUMNS = frozenset({TOPIC, *(key for shape in SHAPES for key in (*shape.required, *shape.optional))})
NESTED_COLUMNS = frozenset({"messages", "conversations", "tools"})
# how the fine-tuning API of OpenAI writes pairs: the same, with prompt and tools in one object
_HOSTED_PAIR = {"preferred_output": "chosen", "non_preferred_output": "rejected"}
_HOSTED_INPUT = {"messages": "prompt", "tools": "tools"}
_MESSAGE_KEYS = frozenset({"role", "content", "weight", "tool_calls", "tool_call_id", "name"})
_TURN_KEYS = frozenset({"from", "value", "weight"})
# levels of lists and objects in tools and their calls, which real ones never come near
_DEEPEST = 100

_SPEAKERS: dict[str, Role] = {
    **{role: role for role in ROLES},
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
}


@dataclass(frozen=True)
class ParsedRow:
    """The messages of a row, its tools, whether it is plain text, the columns that no format knows, of a preference the
    rejected answer, and what the row is about ("": it does not say).
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    plain: bool
    unused: frozenset[str]
    rejected: Message | None = None
    topic: str = ""


def parse_row(value: Any, named: str = AUTO, *, pairs: bool | None = None) -> ParsedRow:
    """One row in the format `named`, or in the one that its keys show. `pairs`: of several that they show, a preference
    is meant, or is not; None: that is not known.

    Raises RowError.
    """
    if not isinstance(value, dict):
        raise RowError("NotAnObject")
    for key in value:
        _check_text(key)
    value = _hosted_pair(value)
    shape = _shape(frozenset(value), named, pairs)
    messages = _messages(shape, value)
    tools = _tools(value["tools"]) if "tools" in shape.optional and value.get("tools") is not None else ()
    plain = shape.format == "Text"
    _check_turns(messages, plain)
    rejected = _rejected(value["rejected"], messages) if shape.format == "Preference" else None
    unused = frozenset(value).difference(shape.required, shape.optional)
    topic = _topic(value.get(TOPIC))
    return ParsedRow(messages, tools, plain, unused - {TOPIC} if topic else unused, rejected, topic)


def _topic(value: Any) -> str:
    """The label of a row; "" for what is none, which then is a column as any other."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return " ".join(_text(value).split()) if isinstance(value, str) else ""


def _hosted_pair(value: dict[str, Any]) -> dict[str, Any]:
    """A pair as OpenAI writes it, in the keys of a Preference; other rows as they are. Raises RowError."""
    if not value.keys() >= {"input", *_HOSTED_PAIR}:
        return value
    given = value["input"]
    if not isinstance(given, dict):
        raise RowError("WrongType")
    if "messages" not in given:
        raise RowError("MissingField")
    for key in given:
        _check_text(key)
    asked = {_HOSTED_INPUT.get(key, f"input.{key}"): item for key, item in given.items()}
    return {**{_HOSTED_PAIR.get(key, key): item for key, item in value.items() if key != "input"}, **asked}


def parse_messages(value: Any) -> tuple[Message, ...]:
    """A list of `{"role", "content"}` objects. Raises RowError."""
    if not isinstance(value, list) or not value:
        raise RowError("WrongType")
    return tuple(_message(item) for item in value)


# rows of one file have the same keys, mostly
@functools.lru_cache(maxsize=64)
def _shape(keys: frozenset[str], named: str, pairs: bool | None) -> Shape:
    allowed = [shape for shape in SHAPES if named in (AUTO, shape.format)]
    found = [shape for shape in allowed if keys.issuperset(shape.required)]
    if not found:
        raise RowError("UnknownFormat" if named == AUTO else "MissingField")
    if len(found) > 1 and pairs is not None:
        found = [shape for shape in found if (shape.format == "Preference") == pairs] or found
    if len(found) > 1:
        raise RowError("AmbiguousFormat")
    return found[0]


def _messages(shape: Shape, value: dict[str, Any]) -> tuple[Message, ...]:
    match shape.format:
        case "Messages":
            return parse_messages(value["messages"])
        case "Conversations":
            return (*_system(value), *_spoken(value["conversations"]))
        case "Text":
            return (Message("assistant", _text(value["text"])),)
        case "Instruction":
            parts = [_text(value[key]) for key in ("instruction", "input") if value.get(key) is not None]
            question, answer = "\n\n".join(part for part in parts if part), value["output"]
        case "Preference":
            return (*_system(value), *_prompt(value["prompt"]), _answer(value["chosen"]))
        case _:
            question, answer = (value[key] for key in shape.required)
    return (*_system(value), Message("user", _text(question)), Message("assistant", _text(answer)))


def _prompt(value: Any) -> tuple[Message, ...]:
    """What comes before the answers: a text or messages, whose own answers are not trained."""
    if isinstance(value, str):
        return (Message("user", _text(value)),)
    return tuple(
        replace(message, weight=0) if message.role == "assistant" else message for message in parse_messages(value)
    )


def _answer(value: Any) -> Message:
    """One of two answers: a text, or a list with one message of an assistant."""
    if isinstance(value, str):
        return Message("assistant", _text(value))
    messages = parse_messages(value)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise RowError("NotOneAnswer")
    return replace(messages[0], weight=1)


def _rejected(value: Any, messages: tuple[Message, ...]) -> Message:
    """The answer that the last message is preferred to. Raises RowError."""
    rejected = _answer(value)
    if not rejected.content.strip() and not rejected.tool_calls:
        raise RowError("EmptyTurn")
    if same_answers(messages[-1], rejected):
        raise RowError("SameAnswers")
    return rejected


def same_answers(chosen: Message, rejected: Message) -> bool:
    """Whether there is nothing to choose between two answers; their form is something."""
    return replace(rejected, content=rejected.content.strip()) == replace(chosen, content=chosen.content.strip())


def _system(value: dict[str, Any]) -> tuple[Message, ...]:
    text = _text(value["system"]) if value.get("system") is not None else ""
    return (Message("system", text),) if text.strip() else ()


def _spoken(value: Any) -> tuple[Message, ...]:
    """Turns as `{"from", "value"}`."""
    if not isinstance(value, list) or not value:
        raise RowError("WrongType")
    return tuple(_turn(item) for item in value)


def _turn(item: Any) -> Message:
    _check_keys(item, _TURN_KEYS)
    role = _SPEAKERS.get(_text(item.get("from")))
    if not role:
        raise RowError("UnknownRole")
    return Message(role, _text(item.get("value")), _weight(item, role))


def _message(item: Any) -> Message:
    _check_keys(item, _MESSAGE_KEYS)
    role = _text(item.get("role"))
    if role not in ROLES:
        raise RowError("UnknownRole")
    if len(item) == 2 and "content" in item:
        return Message(role, _text(item["content"]))
    given = {key for key in ("tool_calls", "tool_call_id", "name") if item.get(key) is not None}
    if given - ({"tool_calls"} if role == "assistant" else {"tool_call_id", "name"} if role == "tool" else set()):
        raise RowError("UnknownMessageField")
    calls = _tool_calls(item["tool_calls"]) if "tool_calls" in given else ()
    content = "" if calls and item.get("content") is None else _text(item.get("content"))
    identity, name = (_text(item[key]) if key in given else "" for key in ("tool_call_id", "name"))
    return Message(role, content, _weight(item, role), calls, identity, name)


def _check_keys(item: Any, known: frozenset[str]) -> None:
    if not isinstance(item, dict):
        raise RowError("WrongType")
    if not known.issuperset(item) and any(item[key] is not None for key in item.keys() - known):
        raise RowError("UnknownMessageField")


def _weight(item: dict[str, Any], role: str) -> int:
    weight = item.get("weight")
    if weight is None:
        return 1
    if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
        raise RowError("WrongWeight")
    return int(weight)


def _tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Definitions of tools; data sets hold the list as JSON text as well."""
    return _checked(_objects(_loaded(value)))


def _tool_calls(value: Any) -> tuple[dict[str, Any], ...]:
    """Calls of tools, with their arguments as an object, which is what chat templates take."""
    return _checked([_tool_call(call) for call in _objects(value)])


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("WrongType")
    arguments = _loaded(function.get("arguments", {}))
    if not isinstance(arguments, dict):
        raise RowError("WrongType")
    return {**call, "function": {**function, "arguments": arguments}}


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError("WrongType")
    return value


def _checked(objects: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The objects, which JSON can write and which are not nested so deeply that a walk through them could fail."""
    _check_depth(objects, _DEEPEST)
    try:
        text = json.dumps(objects, ensure_ascii=False)
    except TypeError:
        raise RowError("WrongType") from None
    _check_text(text)
    return tuple(objects)


def _check_depth(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if not levels:
            raise RowError("WrongType")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, levels - 1)


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError("WrongType") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RowError("WrongType")
    _check_text(value)
    return value


def _check_text(text: str) -> None:
    """JSON can escape halves of characters, which no file and no tokenizer can hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError("BrokenText") from None


def _check_turns(messages: tuple[Message, ...], plain: bool) -> None:
    if messages[-1].role != "assistant":
        raise RowError("NoAssistantTurn")
    if any(not message.content.strip() for message in messages if message.role != "system" and not message.tool_calls):
        raise RowError("EmptyTurn")
    if not plain and not any(message.trained for message in messages):
        raise RowError("NothingTrained")
