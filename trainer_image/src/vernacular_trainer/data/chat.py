"""Conversations to tokens through the model's own chat template; labels on the answers alone, end of turn included.

Chat templates rarely mark the answers, so their place is found in the rendered text: an answer is what a rendering
up to and including it has beyond the rendering that asks for it. Labels never look at the pad token,
because for many models it is the same as the end-of-turn token.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.errors import StageError

NOT_TRAINED = -100

Tools = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class TokenRow:
    """One tokenised row; `labels` equals `input_ids` where the token is trained, else NOT_TRAINED."""

    row: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(label != NOT_TRAINED for label in self.labels)

    def fully_trained(self) -> TokenRow:
        """The same row with every token trained; nothing comes before the first one that could predict it."""
        return TokenRow(self.row, self.input_ids, (NOT_TRAINED, *self.input_ids[1:]))

    def cut(self, length: int) -> TokenRow:
        """The first `length` tokens."""
        return TokenRow(self.row, self.input_ids[:length], self.labels[:length])


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer of the model in `folder`; `name` is the model as the user wrote it.

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
    if not tokenizer.chat_template:
        message = f"{name} has no chat template, so it is not known how a conversation is written for it"
        advice = "use the instruct or chat version of the model, or add chat_template.jinja to its folder"
        raise StageError(StageFailure.CHAT_TEMPLATE_MISSING, message, advice)
    return tokenizer


def render(tokenizer: Any, messages: tuple[Message, ...], ask: bool, tools: Tools = ()) -> str:
    """The conversation as text; with `ask` up to where the model's answer begins. Raises RowError (TemplateRefused)."""
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            [message.to_dict() for message in messages],
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=ask,
        )
    except (TemplateError, TypeError, ValueError):
        # templates take definitions and arguments of tools apart without asking what they are
        raise RowError("TemplateRefused") from None
    return text


def prompt_ids(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    """Tokens that ask the model for the next answer, exactly as in training."""
    ids: list[int] = tokenizer(render(tokenizer, messages, ask=True), add_special_tokens=False)["input_ids"]
    return ids


def encode(tokenizer: Any, conversation: Conversation) -> list[TokenRow]:
    """Tokenise a conversation with every answer of weight 1 trained: one row, or one per answer where the template
    rewrites earlier turns (reasoning templates drop old thoughts). Plain text is trained whole, without a template.

    Raises RowError (TemplateRefused, ToolsIgnored).
    """
    if conversation.plain:
        return [_plain_text(tokenizer, conversation)]
    messages, tools = conversation.messages, conversation.tools
    whole = render(tokenizer, messages, ask=False, tools=tools)
    _check_tools(tokenizer, conversation, whole)
    answers = [i for i, message in enumerate(messages) if message.trained]
    rendered = [(i, _rendered_answer(tokenizer, messages[: i + 1], tools)) for i in answers]
    if all(whole.startswith(text) for _, (text, _) in rendered):
        spans = [(start, len(text)) for _, (text, start) in rendered]
        return [_tokenise(tokenizer, conversation.row, whole, spans)]
    return [_tokenise(tokenizer, conversation.row, text, [(start, len(text))]) for _, (text, start) in rendered]


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


def _plain_text(tokenizer: Any, conversation: Conversation) -> TokenRow:
    text = "".join(message.content for message in conversation.messages)
    ids = [*tokenizer(text)["input_ids"]]
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    return TokenRow(conversation.row, tuple(ids), tuple(ids)).fully_trained()


def _rendered_answer(tokenizer: Any, messages: tuple[Message, ...], tools: Tools) -> tuple[str, int]:
    """A rendering that ends with an answer, and the character where that answer starts."""
    asking = render(tokenizer, messages[:-1], ask=True, tools=tools)
    text = render(tokenizer, messages, ask=False, tools=tools)
    return text, len(os.path.commonprefix([asking, text]))


def _tokenise(tokenizer: Any, row: str, text: str, spans: list[tuple[int, int]]) -> TokenRow:
    """Tokens of `text`, trained where they overlap a span; white space after the end of a turn is not part of it."""
    trimmed = [(start, start + len(text[start:end].rstrip())) for start, end in spans]
    # the template writes the beginning-of-text token itself
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoding["input_ids"]
    labels = [NOT_TRAINED] * len(ids)
    for position, (left, right) in enumerate(encoding["offset_mapping"]):
        if any(right > start and left < end for start, end in trimmed):
            labels[position] = ids[position]
    last = max((position for position, label in enumerate(labels) if label != NOT_TRAINED), default=None)
    if last is not None and _needs_end(tokenizer, ids[last]):
        ids, labels = ([*tokens[: last + 1], tokenizer.eos_token_id] for tokens in (ids, labels))
    return TokenRow(row, tuple(ids), tuple(labels))


def _needs_end(tokenizer: Any, last: int) -> bool:
    """Whether the template wrote no end-of-turn token after the last answer: the model must still learn to stop."""
    return last not in tokenizer.all_special_ids and tokenizer.eos_token_id is not None


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """Tokens at which an answer ends: the tokenizer's end of text and the template's end of turn."""
    sample = Conversation("", (Message("user", "a"), Message("assistant", "a")))
    last = [label for label in encode(tokenizer, sample)[0].labels if label != NOT_TRAINED][-1]
    ids = {last} if last in tokenizer.all_special_ids else set()
    return sorted(ids | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()))


def token_histogram(lengths: list[int]) -> dict[str, int]:
    """How many rows have how many tokens, in buckets that double: {"1-64": 3, "65-128": 1}."""
    edges = [0, *(64 << power for power in range(12))]
    counts = {f"{low + 1}-{high}": sum(low < length <= high for length in lengths) for low, high in pairwise(edges)}
    counts[f"{edges[-1] + 1}-"] = sum(length > edges[-1] for length in lengths)
    return {bucket: count for bucket, count in counts.items() if count}
