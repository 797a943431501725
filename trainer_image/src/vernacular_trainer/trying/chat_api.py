"""What is read and written at `/v1/chat/completions` and `/v1/models`, as OpenAI's API has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vernacular_trainer.data.rows import Message

Json = dict[str, Any]

DEFAULT_TOKENS = 512
_ROLES = ("system", "user", "assistant")
# what may be said because it changes nothing: answers are the most likely ones, one for each request
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "temperature": (0,), "top_p": (1,), "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,),
}  # fmt: skip
_TOKENS = ("max_completion_tokens", "max_tokens")


class RefusalError(Exception):
    """A request that cannot be followed. `parameter`: the part of it that is wrong ("": all of it)."""

    def __init__(self, message: str, parameter: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter
        self.status = status

    @property
    def document(self) -> Json:
        kind = "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.parameter or None, "code": None}}


@dataclass(frozen=True)
class ChatRequest:
    """Messages for one of the models; `most`: tokens that its answer may have."""

    model: str
    messages: tuple[Message, ...]
    most: int
    stream: bool


def chat_request(document: Any, models: tuple[str, ...]) -> ChatRequest:
    """Read a request for a completion. Raises RefusalError for what is wrong, and for what would do nothing."""
    if not isinstance(document, dict):
        raise RefusalError("the body must be a JSON object")
    model, stream = document.get("model"), document.get("stream", False)
    if model not in models:
        raise RefusalError(f"there is no model {model!r}, only {' and '.join(models)}", "model", 404)
    if not isinstance(stream, bool):
        raise RefusalError("stream must be true or false", "stream")
    known = {"model", "messages", "stream", *_TOKENS, *_NEUTRAL}
    for name, value in document.items():
        if name not in known:
            raise RefusalError(f"{name} is not known here: leave it out", name)
        if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
            raise RefusalError(f"{name} must be {_NEUTRAL[name][0]}: the most likely answer is given", name)
    return ChatRequest(model, _messages(document.get("messages")), _most(document), stream)


def completion(
    identity: str, created: int, request: ChatRequest, text: str, tokens: tuple[int, int], *, ended: bool
) -> Json:
    """A whole answer. `tokens`: of the prompt, of the answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(ended)}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {**_head("chat.completion", identity, created, request), "choices": [choice], "usage": usage}


def chunk(identity: str, created: int, request: ChatRequest, text: str | None, *, ended: bool | None = None) -> Json:
    """A part of an answer: its text, or with `ended` its end."""
    delta = {} if text is None else {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": None if ended is None else _reason(ended)}
    return {**_head("chat.completion.chunk", identity, created, request), "choices": [choice]}


def model_list(models: tuple[str, ...], created: int) -> Json:
    """The models that can be asked."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": "vernacular"} for name in models]
    return {"object": "list", "data": data}


def _head(kind: str, identity: str, created: int, request: ChatRequest) -> Json:
    return {"id": identity, "object": kind, "created": created, "model": request.model}


def _reason(ended: bool) -> str:
    return "stop" if ended else "length"


def _most(document: Json) -> int:
    given = [(name, document[name]) for name in _TOKENS if document.get(name) is not None]
    if not given:
        return DEFAULT_TOKENS
    name, value = given[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RefusalError(f"{name} must be a whole number above 0", name)
    return value


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise RefusalError("messages must be a list of objects with role and content", "messages")
    found = tuple(_message(item, f"messages[{place}]") for place, item in enumerate(value))
    if found[-1].role != "user":
        raise RefusalError("the last message must be of the user", "messages")
    return found


def _message(item: Any, place: str) -> Message:
    if not isinstance(item, dict) or set(item) != {"role", "content"}:
        raise RefusalError(f"{place} must have role and content, and nothing else", "messages")
    role, content = item["role"], item["content"]
    if role not in _ROLES:
        raise RefusalError(f"{place}: {role!r} is none of {', '.join(_ROLES)}", "messages")
    if not isinstance(content, str):
        raise RefusalError(f"{place}: content must be a text", "messages")
    return Message(role, content)
