"""Conversations to tokens through the model's own chat template; labels on the answers alone, end of turn included.

Chat templates rarely mark the answers, so their place is found in the rendered text: an answer is what a rendering
up to and including it has beyond the rendering that asks for it. Labels never look at the pad token,
because for many models it is the same as the end-of-turn token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

NOT_TRAINED = -100
# what the library tells of a text takes twenty times its size: of few texts it stays in the processor's caches
_TEXTS_AT_ONCE = 32

Tools = tuple[dict[str, Any], ...]
Span = tuple[int, int]


@dataclass(frozen=True)
class TokenRow:
    """One tokenised row; `labels` equals `input_ids` where the token is trained, else NOT_TRAINED."""

    row: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return len(self.labels) - self.labels.count(NOT_TRAINED)

    def fully_trained(self) -> TokenRow:
        """The same row with every token trained; nothing comes before the first one that could predict it."""
        return TokenRow(self.row, self.input_ids, (NOT_TRAINED, *self.input_ids[1:]))


@dataclass(frozen=True)
class _Rendered:
    """A text to tokenise, and the characters of it that are trained: None for plain text, which is trained whole."""

    row: str
    text: str
    spans: tuple[Span, ...] | None


def load_tokenizer(folder: Path, name: str, template: str = "") -> Any:
    """The tokenizer of the model in `folder`; `name` is the model as the user wrote it. `template`: the chat template
    that it writes with; "": its own.

    Raises StageError (ModelUnsupported, ChatTemplateMissing).
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        message = f"the tokenizer of {name} cannot be loaded"
        advice = "use a model whose folder holds a complete tokenizer.json"
        raise StageError(StageFailure.MODEL_UNSUPPORTED, message, advice, type(error).__name__) from error
    if not tokenizer.is_fast:
        message = f"the tokenizer of {name} does not say which token stands for which characters"
        raise StageError(StageFailure.MODEL_UNSUPPORTED, message, "add a tokenizer.json to the model's folder")
    if template:
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        message = f"{name} has no chat template, so it is not known how a conversation is written for it"
        advice = "use the instruct or chat version of the model, or give a chat template in dataset.chatTemplate"
        raise StageError(StageFailure.CHAT_TEMPLATE_MISSING, message, advice)
    return tokenizer


def own_template(workspace: Workspace) -> str:
    """The job's own chat template as prepare has left it, "" when the model's own holds."""
    return workspace.chat_template.read_text(encoding="utf-8-sig") if workspace.chat_template.exists() else ""


def render(tokenizer: Any, messages: tuple[Message, ...], ask: bool, tools: Tools = ()) -> str:
    """The conversation as text; with `ask` up to where the model's answer begins. Raises RowError (TemplateRefused)."""
    (text,) = _texts(tokenizer, [messages], ask, tools)
    return text


def _texts(tokenizer: Any, conversations: Sequence[tuple[Message, ...]], ask: bool, tools: Tools = ()) -> list[str]:
    """Conversations as texts. Raises RowError (TemplateRefused) for the first that the template refuses."""
    from jinja2 import TemplateError

    if not conversations:
        return []
    if not all(conversations):
        # nobody asks for the answer that a row begins with
        raise RowError("TemplateRefused")
    try:
        texts: list[str] = tokenizer.apply_chat_template(
            [[message.to_dict() for message in messages] for messages in conversations],
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=ask,
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError):
        # templates take definitions and arguments of tools apart without asking what they are
        raise RowError("TemplateRefused") from None
    return texts


def prompt_ids(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    """Tokens that ask the model for the next answer, exactly as in training."""
    ids: list[int] = tokenizer(render(tokenizer, messages, ask=True), add_special_tokens=False)["input_ids"]
    return ids


def encode(tokenizer: Any, conversation: Conversation) -> list[TokenRow]:
    """Tokenise a conversation with every answer of weight 1 trained: one row, or one per answer where the template
    rewrites earlier turns (reasoning templates drop old thoughts). Plain text is trained whole, without a template.

    Raises RowError (TemplateRefused, ToolsIgnored).
    """
    (rows,) = encode_all(tokenizer, [conversation])
    if isinstance(rows, RowError):
        raise rows
    return rows


def encode_all(tokenizer: Any, conversations: Sequence[Conversation]) -> list[list[TokenRow] | RowError]:
    """What `encode` gives for each conversation, or raises; many together take a fraction of the time."""
    rendered = _render_all(tokenizer, conversations)
    tokenised = iter(_tokenise(tokenizer, [text for texts in rendered if isinstance(texts, list) for text in texts]))
    return [texts if isinstance(texts, RowError) else list(islice(tokenised, len(texts))) for texts in rendered]


def _render_all(tokenizer: Any, conversations: Sequence[Conversation]) -> list[list[_Rendered] | RowError]:
    usual = [conversation for conversation in conversations if _is_usual(conversation)]
    try:
        wholes = _texts(tokenizer, [conversation.messages for conversation in usual], ask=False)
        asking = _texts(tokenizer, [conversation.messages[:-1] for conversation in usual], ask=True)
    except RowError:
        # which of them it is, shows when each is rendered by itself
        return [_render_one(tokenizer, conversation) for conversation in conversations]
    found = zip(wholes, asking, strict=True)
    return [
        [_with_last_answer(conversation, *next(found))]
        if _is_usual(conversation)
        else _render_one(tokenizer, conversation)
        for conversation in conversations
    ]


def _is_usual(conversation: Conversation) -> bool:
    """Whether it holds no tools, and a single answer, the last message: two renderings are all that it takes."""
    *before, last = conversation.messages
    return (
        bool(before)
        and last.trained
        and not (conversation.plain or conversation.tools or last.tool_calls)
        and not any(message.trained or message.tool_calls for message in before)
    )


def _with_last_answer(conversation: Conversation, whole: str, asking: str) -> _Rendered:
    return _Rendered(conversation.row, whole, ((_shared(asking, whole), len(whole)),))


def _render_one(tokenizer: Any, conversation: Conversation) -> list[_Rendered] | RowError:
    try:
        return _render(tokenizer, conversation)
    except RowError as error:
        return error


def _render(tokenizer: Any, conversation: Conversation) -> list[_Rendered]:
    """The texts of a conversation. Raises RowError."""
    row, messages, tools = conversation.row, conversation.messages, conversation.tools
    if conversation.plain:
        return [_Rendered(row, "".join(message.content for message in messages), None)]
    whole = render(tokenizer, messages, ask=False, tools=tools)
    _check_tools(tokenizer, conversation, whole)
    answers = [i for i, message in enumerate(messages) if message.trained]
    rendered = [(_rendered_answer(tokenizer, messages[: i + 1], tools)) for i in answers]
    if all(whole.startswith(text) for text, _ in rendered):
        return [_Rendered(row, whole, tuple((start, len(text)) for text, start in rendered))]
    return [_Rendered(row, text, ((start, len(text)),)) for text, start in rendered]


def _check_tools(tokenizer: Any, conversation: Conversation, whole: str) -> None:
    """Raises RowError (ToolsIgnored) when the template writes the same without the tools, or without a call."""
    messages, tools = conversation.messages, conversation.tools
    without: list[tuple[tuple[Message, ...], Tools]] = [(messages, ())] if tools else []
    for index, message in enumerate(messages):
        if message.tool_calls:
            without.append(((*messages[:index], replace(message, tool_calls=()), *messages[index + 1 :]), tools))
    if any(_rendered(tokenizer, *parts) == whole for parts in without):
        raise RowError("ToolsIgnored")


def _rendered(tokenizer: Any, messages: tuple[Message, ...], tools: Tools) -> str:
    """The conversation as text, "" when the template refuses it: one that demands a call before the result of a tool
    does not leave calls out.
    """
    try:
        return render(tokenizer, messages, ask=False, tools=tools)
    except RowError:
        return ""


def _rendered_answer(tokenizer: Any, messages: tuple[Message, ...], tools: Tools) -> tuple[str, int]:
    """A rendering that ends with an answer, and the character where that answer starts."""
    asking = render(tokenizer, messages[:-1], ask=True, tools=tools)
    text = render(tokenizer, messages, ask=False, tools=tools)
    return text, _shared(asking, text)


def _shared(asking: str, text: str) -> int:
    """How many characters both begin with."""
    return len(asking) if text.startswith(asking) else len(os.path.commonprefix([asking, text]))


def _tokenise(tokenizer: Any, rendered: Sequence[_Rendered]) -> Iterator[TokenRow]:
    """The tokens of each text."""
    special, end = frozenset(tokenizer.all_special_ids), tokenizer.eos_token_id
    plain = [item.text for item in rendered if item.spans is None]
    written = [item.text for item in rendered if item.spans is not None]
    # the template writes the beginning-of-text token itself
    of_plain = _encodings(tokenizer, plain, special=True)
    of_written = _encodings(tokenizer, written, special=False)
    for item in rendered:
        if item.spans is None:
            yield _whole(item.row, next(of_plain).ids, end)
        else:
            yield _labelled(item.row, next(of_written), _trimmed(item.text, item.spans), special, end)


def _encodings(tokenizer: Any, texts: list[str], *, special: bool) -> Iterator[Any]:
    """What the library tells of each text. `special`: with tokens that the tokenizer itself puts around a text."""
    # not by way of transformers, which makes lists of all that could be asked for
    library = tokenizer.backend_tokenizer
    library.no_truncation()
    library.no_padding()
    library.encode_special_tokens = tokenizer.split_special_tokens
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        yield from library.encode_batch(texts[begin : begin + _TEXTS_AT_ONCE], add_special_tokens=special)


def _whole(row: str, ids: list[int], end: int | None) -> TokenRow:
    if end is not None and ids[-1:] != [end]:
        ids = [*ids, end]
    return TokenRow(row, tuple(ids), tuple(ids)).fully_trained()


def _trimmed(text: str, spans: Sequence[Span]) -> list[Span]:
    """White space after the end of a turn is not part of it."""
    return [(start, start + len(text[start:end].rstrip())) for start, end in spans]


def _labelled(row: str, encoding: Any, spans: Sequence[Span], special: Set[int], end: int | None) -> TokenRow:
    """Tokens of a text, trained where they overlap a span."""
    ids: list[int] = encoding.ids
    labels = [NOT_TRAINED] * len(ids)
    last = -1
    for span in spans:
        for tokens in _overlapping(encoding, *span):
            labels[tokens] = ids[tokens]
            last = max(last, tokens.stop - 1)
    # where the template wrote no end-of-turn token after the last answer, the model must still learn to stop
    if last >= 0 and ids[last] not in special and end is not None:
        ids, labels = ([*tokens[: last + 1], end] for tokens in (ids, labels))
    return TokenRow(row, tuple(ids), tuple(labels))


def _overlapping(encoding: Any, start: int, end: int) -> list[slice]:
    """Tokens that overlap some characters."""
    first = encoding.char_to_token(start) if start < end else None
    last = encoding.char_to_token(end - 1) if start < end else None
    if first is None or last is None:
        # an end that is in no token: a tokenizer may leave out white space
        places = enumerate(encoding.offsets)
        return [slice(place, place + 1) for place, (left, right) in places if right > start and left < end]
    # a character may be several tokens, of which the first was found
    while last + 1 < len(encoding) and encoding.token_to_chars(last + 1)[0] < end:
        last += 1
    return [slice(first, last + 1)]


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """Tokens at which an answer ends: the tokenizer's end of text and the template's end of turn."""
    sample = Conversation("", (Message("user", "a"), Message("assistant", "a")))
    last = [label for label in encode(tokenizer, sample)[0].labels if label != NOT_TRAINED][-1]
    ids = {last} if last in tokenizer.all_special_ids else set()
    return sorted(ids | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()))


def token_histogram(lengths: Sequence[int] | NDArray[np.int64]) -> dict[str, int]:
    """How many rows have how many tokens, in buckets that double: {"1-64": 3, "65-128": 1}."""
    edges = [0, *(64 << power for power in range(12))]
    bucket = np.searchsorted(edges, lengths, side="left")
    counts = np.bincount(bucket, minlength=len(edges) + 1)[1:].tolist()
    names = [*(f"{low + 1}-{high}" for low, high in pairwise(edges)), f"{edges[-1] + 1}-"]
    return {name: count for name, count in zip(names, counts, strict=True) if count}
