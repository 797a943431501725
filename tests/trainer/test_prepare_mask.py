"""What is trained is shown, and templates that train the wrong tokens are found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from support.tiny_model import CHAT_TEMPLATE, build_tiny_tokenizer
from vernacular_trainer.contract import TrainingConfig
from vernacular_trainer.data.chat import load_tokenizer
from vernacular_trainer.data.mask_proof import MOST_ROWS, MaskProof, prove_mask
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.stages import prepare

ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# says again, behind the answer, what was asked
REPEATS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ ' (asked: ' + messages[loop.index0 - 1]['content'] + ')' }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
) + ASK
# says before everything how the answer begins
ANNOUNCES = "{{ 'about: ' + messages[-1]['content'][:12] + '\n' }}" + CHAT_TEMPLATE
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
CALL = {"type": "function", "function": {"name": "days", "arguments": {"of": "notice"}}}
WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m.get('tool_calls') %}{% for call in m['tool_calls'] %}{{ call['function'] | tojson }}{% endfor %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
) + ASK


def chat(*contents: str, row: str = "train.jsonl:1", weights: tuple[int, ...] = ()) -> Conversation:
    roles = ("user", "assistant")
    turns = [Message(roles[i % 2], text) for i, text in enumerate(contents)]  # type: ignore[arg-type]
    for index, weight in enumerate(weights):
        turns[2 * index + 1] = Message("assistant", contents[2 * index + 1], weight)
    return Conversation(row, tuple(turns))


def proved(folder: Path, template: str, *rows: Conversation, everything: bool = False) -> tuple[list[str], MaskProof]:
    tokenizer: Any = load_tokenizer(build_tiny_tokenizer(folder, chat_template=template), "tiny")
    problems = ProblemLog()
    proof = prove_mask(tokenizer, rows, problems, everything=everything)
    return [problem.code for problem in problems.problems()], proof


SINGLE, TWICE = chat("how long is the leave", "Ninety days."), chat("how long", "Ninety.", "and notice", "Ten days.")
THOUGHT = chat("a", "<think>\nhm</think>first", "b", "<think>\nha</think>second")


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, THINKING, "{{ bos_token }}" + CHAT_TEMPLATE])
@pytest.mark.parametrize("row", [SINGLE, TWICE, THOUGHT, chat("a", "wrong", "b", "right", weights=(0, 1))])
def test_usual_templates_train_answers_and_their_ends_alone(tmp_path: Path, template: str, row: Conversation) -> None:
    codes, proof = proved(tmp_path, template, row)

    assert codes == []
    assert proof.tried == 1


def test_calls_of_tools_are_answers(tmp_path: Path) -> None:
    messages = (
        Message("user", "how long is the notice"),
        Message("assistant", "", tool_calls=(CALL,)),
        Message("tool", "90"),
        Message("assistant", "Ninety days."),
    )

    codes, proof = proved(tmp_path, WITH_TOOLS, Conversation("a:1", messages, ({"name": "days"},)))

    assert codes == []
    trained = [piece.text for piece in proof.shown[0][1] if piece.trained]
    assert trained == ['{"name": "days", "arguments": {"of": "notice"}}<|im_end|>', "Ninety days.<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "row", "code"),
    [
        (REPEATS, SINGLE, "PromptTrained"),
        (ANNOUNCES, SINGLE, "PromptTrained"),
        (NO_END, TWICE, "EndNotTrained"),
    ],
)
def test_a_template_that_trains_the_wrong_tokens_is_found_out(
    tmp_path: Path, template: str, row: Conversation, code: str
) -> None:
    codes, _ = proved(tmp_path, template, row)

    assert codes == [code]


def test_an_answer_that_begins_as_the_prompt_ends_is_found_out(tmp_path: Path) -> None:
    """Of "<b>" the first letter is taken for the prompt's "<think>"."""
    assert proved(tmp_path, THINKING, chat("a", "< b"))[0] == ["AnswerNotTrained"]


def test_an_end_that_the_template_leaves_out_is_written_after_the_last_answer(tmp_path: Path) -> None:
    assert proved(tmp_path, NO_END, SINGLE)[0] == []


def test_rows_are_shown_as_the_model_reads_them_with_personal_data_masked(tmp_path: Path) -> None:
    row = chat("who is it", "Write to ann@example.com, she knows." + " long" * 200)

    _, proof = proved(tmp_path, CHAT_TEMPLATE, row)

    ((place, pieces),) = proof.shown
    assert place == "train.jsonl:1"
    assert [piece.trained for piece in pieces] == [False, True, False]
    assert pieces[0].text == "<|im_start|>user\nwho is it<|im_end|>\n<|im_start|>assistant\n"
    assert pieces[1].text.startswith("Write to [EMAIL], she knows. long")
    assert pieces[1].text.endswith(" long<|im_end|>")
    assert " … " in pieces[1].text


def test_few_rows_of_each_file_are_shown_and_many_are_tried(tmp_path: Path) -> None:
    rows = [chat("how long", f"{n} days.", row=f"{file}.jsonl:{n}") for file in "ab" for n in range(MOST_ROWS)]

    _, proof = proved(tmp_path, CHAT_TEMPLATE, *rows)

    assert proof.tried == MOST_ROWS
    assert [place.partition(".")[0] for place, _ in proof.shown] == ["a", "a", "b", "b"]


def test_what_is_trained_whole_is_shown_and_not_tried(tmp_path: Path) -> None:
    text = Conversation("a:1", (Message("assistant", "Once upon a time."),), plain=True)

    codes, proof = proved(tmp_path, REPEATS, text)
    _, whole = proved(tmp_path, REPEATS, SINGLE, everything=True)

    assert (codes, proof.tried, whole.tried) == ([], 0, 0)
    assert [piece.trained for piece in proof.shown[0][1]] == [False, True]
    assert [piece.trained for piece in whole.shown[0][1]] == [False, True]


@pytest.mark.parametrize("loss", ["AnswersOnly", "AllTokens"])
def test_the_report_marks_what_is_trained(tmp_path: Path, tiny_model: Path, loss: str) -> None:
    path = write_lines(tmp_path / "train.jsonl", handbook_rows(20))
    config, workspace = make_job(tmp_path, tiny_model, path, training=TrainingConfig(loss=loss))

    prepare.run(config, workspace)

    mask = json.loads(workspace.data_report.read_text())["mask"]
    assert mask["tried"] == (20 if loss == "AnswersOnly" else 0)
    trained = [piece["text"] for piece in mask["samples"][0]["pieces"] if piece["trained"]]
    assert (
        f"<mark>{trained[-1]}</mark>".replace("<|", "&lt;|").replace("|>", "|&gt;") in workspace.data_page.read_text()
    )
