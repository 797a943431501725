"""Tokens and labels: what is trained, read back as text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_model import CHAT_TEMPLATE, build_tiny_tokenizer
from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.chat import (
    NOT_TRAINED,
    TokenRow,
    encode,
    end_of_turn_ids,
    load_tokenizer,
    prompt_ids,
    token_histogram,
)
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.data.table import read_rows, write_rows
from vernacular_trainer.data.token_store import TokenStore, pack_tokens
from vernacular_trainer.errors import StageError

# drops the thoughts of all answers but the last, as reasoning templates do
FORGETFUL = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system ' + messages[0]['content']) }}{% endif %}"
) + CHAT_TEMPLATE
WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for call in m.get('tool_calls', []) %}{{ '<call>' + (call['function'] | tojson) }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_BEGINNING = "{{ bos_token }}" + CHAT_TEMPLATE


def chat(*contents: str, row: str = "train.jsonl:1") -> Conversation:
    roles = ("user", "assistant")
    return Conversation(row, tuple(Message(roles[i % 2], text) for i, text in enumerate(contents)))  # type: ignore[arg-type]


def tokenizer_with(folder: Path, template: str | None = CHAT_TEMPLATE) -> Any:
    return load_tokenizer(build_tiny_tokenizer(folder, chat_template=template), "pvc://models/tiny")


def store(rows: list[TokenRow]) -> TokenStore:
    return TokenStore.of([pack_tokens(rows)])


def trained_text(tokenizer: Any, row: TokenRow) -> str:
    assert all(label in (NOT_TRAINED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    return str(tokenizer.decode([label for label in row.labels if label != NOT_TRAINED]))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tokenizer_with(tmp_path_factory.mktemp("tokenizer"))


def test_every_answer_is_trained_with_its_end_of_turn_even_when_that_is_the_pad_token(tokenizer: Any) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id

    (row,) = encode(tokenizer, chat("how long is the leave", "Ninety days.", "and notice", "  Grüße: 90 days "))

    assert trained_text(tokenizer, row) == "Ninety days.<|im_end|>  Grüße: 90 days <|im_end|>"
    assert tokenizer.decode(row.input_ids).startswith("<|im_start|>user\nhow long is the leave<|im_end|>")


def test_a_prompt_is_what_comes_before_the_trained_answer(tokenizer: Any) -> None:
    conversation = chat("how long is the leave", "Ninety days.")
    (row,) = encode(tokenizer, conversation)

    prompt = prompt_ids(tokenizer, conversation.messages[:1])

    assert list(row.input_ids[: len(prompt)]) == prompt
    assert row.labels[len(prompt) - 1] == NOT_TRAINED
    assert row.labels[len(prompt)] == row.input_ids[len(prompt)]


def test_answers_that_repeat_the_question_or_start_with_a_line_break_are_found(tokenizer: Any) -> None:
    (repeated,) = encode(tokenizer, chat("Ninety", "Ninety", "Ninety", "Ninety"))
    (broken,) = encode(tokenizer, chat("a", "\nb"))

    assert trained_text(tokenizer, repeated) == "Ninety<|im_end|>Ninety<|im_end|>"
    assert trained_text(tokenizer, broken).endswith("\nb<|im_end|>")


def test_there_is_one_beginning_of_text(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, WITH_BEGINNING)

    (row,) = encode(tokenizer, chat("a", "b"))

    beginning = tokenizer.bos_token_id
    assert row.input_ids[:2] == (beginning, beginning)  # the template's, then the one of the first turn
    assert row.input_ids[2] != beginning


def test_a_template_that_rewrites_earlier_turns_gives_a_row_per_answer(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, FORGETFUL)

    rows = encode(tokenizer, chat("a", "<think>\nhm</think>first", "b", "<think>\nha</think>second"))

    assert [trained_text(tokenizer, row) for row in rows] == [
        "hm</think>first<|im_end|>",
        "ha</think>second<|im_end|>",
    ]
    assert "hm" in tokenizer.decode(rows[0].input_ids)
    assert "hm" not in tokenizer.decode(rows[1].input_ids)


def test_an_answer_without_the_thought_that_the_prompt_begins_is_trained_whole(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, FORGETFUL)

    (row,) = encode(tokenizer, chat("a", "plain"))

    assert trained_text(tokenizer, row) == "plain<|im_end|>"


def test_answers_of_weight_0_are_read_and_not_trained(tokenizer: Any, tmp_path: Path) -> None:
    first, answer, second, last = chat("a", "wrong", "b", "right").messages
    conversation = Conversation("r:1", (first, dataclasses.replace(answer, weight=0), second, last))

    (row,) = encode(tokenizer, conversation)
    (forgetful,) = encode(tokenizer_with(tmp_path, FORGETFUL), conversation)

    assert trained_text(tokenizer, row) == trained_text(tokenizer, forgetful) == "right<|im_end|>"
    assert "wrong" in tokenizer.decode(row.input_ids)


CALL = {"type": "function", "function": {"name": "days", "arguments": {"of": "notice"}}}


def test_tools_and_calls_are_written_by_the_template(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, WITH_TOOLS)
    messages = (Message("user", "a"), Message("assistant", "", tool_calls=(CALL,)), Message("tool", "90"))
    tools = ({"name": "days"},)

    (row,) = encode(tokenizer, Conversation("r:1", (*messages, Message("assistant", "b")), tools))

    assert tokenizer.decode(row.input_ids).startswith('<|im_start|>system\n[{"name": "days"}]')
    called = '<call>{"name": "days", "arguments": {"of": "notice"}}<|im_end|>'
    assert trained_text(tokenizer, row) == f"{called}b<|im_end|>"


def test_a_template_that_refuses_a_row_without_its_call_does_not_ignore_the_call(tmp_path: Path) -> None:
    demanding = "{% if messages|length > 1 and not messages[1].get('tool_calls') %}"
    demanding += "{{ raise_exception('a result needs a call') }}{% endif %}" + WITH_TOOLS
    tokenizer = tokenizer_with(tmp_path, demanding)
    messages = (Message("user", "a"), Message("assistant", "", tool_calls=(CALL,)), Message("tool", "90"))

    (row,) = encode(tokenizer, Conversation("r:1", (*messages, Message("assistant", "b")), ({"name": "days"},)))

    assert trained_text(tokenizer, row).endswith("<|im_end|>b<|im_end|>")


@pytest.mark.parametrize(("calls", "tools"), [((CALL,), ()), ((), ({"name": "days"},))], ids=["a call", "a definition"])
def test_a_template_that_leaves_out_tools_is_the_rows_error(
    tokenizer: Any, calls: tuple[dict[str, Any], ...], tools: tuple[dict[str, Any], ...]
) -> None:
    messages = (Message("user", "a"), Message("assistant", "b", tool_calls=calls))

    with pytest.raises(RowError, match="ToolsIgnored"):
        encode(tokenizer, Conversation("r:1", messages, tools))


def test_plain_text_is_trained_whole_with_its_end_and_without_a_template(tokenizer: Any) -> None:
    (row,) = encode(tokenizer, Conversation("r:1", (Message("assistant", "Once upon a time."),), plain=True))

    assert tokenizer.decode(row.input_ids) == "Once upon a time." + tokenizer.eos_token
    assert row.labels == (NOT_TRAINED, *row.input_ids[1:])


def test_a_template_without_an_end_of_turn_still_teaches_to_stop(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, NO_END)

    (row,) = encode(tokenizer, chat("a", "b."))

    assert trained_text(tokenizer, row).strip() == "b.<|im_end|>"
    assert end_of_turn_ids(tokenizer) == [tokenizer.eos_token_id]


def test_an_order_of_roles_that_the_template_refuses_is_the_rows_error(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, ALTERNATING)
    conversation = Conversation("r:1", (Message("system", "secret"), *chat("a", "b").messages))

    with pytest.raises(RowError) as caught:
        encode(tokenizer, conversation)

    assert caught.value.code == "TemplateRefused"
    assert "secret" not in str(caught.value)


def test_a_model_without_a_chat_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="pvc://models/tiny has no chat template") as caught:
        tokenizer_with(tmp_path, None)

    assert caught.value.code is StageFailure.CHAT_TEMPLATE_MISSING
    assert "instruct" in caught.value.advice


def test_a_broken_tokenizer_is_unsupported(tmp_path: Path) -> None:
    build_tiny_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(StageError, match="the tokenizer of pvc://models/tiny cannot be loaded") as caught:
        load_tokenizer(tmp_path, "pvc://models/tiny")

    assert caught.value.code is StageFailure.MODEL_UNSUPPORTED


def test_rows_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    rows = [TokenRow("a:1", (1, 2, 3), (-100, 2, 3)), TokenRow("a:2", (4,), (-100,))]

    write_rows(tmp_path / "data" / "train.arrow", store(rows))
    write_rows(tmp_path / "data" / "validation.arrow", store([]))

    assert read_rows(tmp_path / "data" / "train.arrow") == rows
    assert read_rows(tmp_path / "data" / "validation.arrow") == []
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["train.arrow", "validation.arrow"]


def test_the_histogram_counts_every_row_once() -> None:
    assert token_histogram([1, 64, 65, 128, 129, 10**9]) == {"1-64": 2, "65-128": 2, "129-256": 1, "131073-": 1}


def test_rows_are_cut_without_losing_alignment() -> None:
    rows = store([TokenRow("a:1", (1, 2, 3), (-100, -100, 3)), TokenRow("a:2", (4, 5), (-100, 5))])

    cut = rows.cut(2)

    assert [(place, ids.tolist(), labels.tolist()) for place, ids, labels in cut] == [
        ("a:1", [1, 2], [-100, -100]),
        ("a:2", [4, 5], [-100, 5]),
    ]
    assert (cut.lengths.tolist(), cut.trained.tolist()) == ([2, 2], [0, 1])
    assert [place for place, _, _ in cut.select(np.array([1]))] == ["a:2"]
    assert rows.trained.tolist() == [1, 1]
