"""A chat template of the user's own: tried before training, used for the rows, refused with what to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from support.tiny_model import CHAT_TEMPLATE, build_tiny_tokenizer
from vernacular_trainer.contract import FileSource, JobConfig, Outcome, StageFailure
from vernacular_trainer.data.chat import load_tokenizer
from vernacular_trainer.data.chat_template import MOST_BYTES, require_usable
from vernacular_trainer.data.row_store import RowStore, pack
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.table import read_rows
from vernacular_trainer.data.tokenising import Encoder
from vernacular_trainer.data.workers import Workers
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare
from vernacular_trainer.workspace import Workspace

NAME = "ConfigMap templates, key chat.jinja"
OWN = (
    "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)
THINKING = CHAT_TEMPLATE.replace("assistant\n'", "assistant\n<think>\n'")
BODY = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"


def job_with(root: Path, model: Path, template: str | bytes | None) -> tuple[JobConfig, Workspace]:
    config, workspace = make_job(root, model, write_lines(root / "train.jsonl", handbook_rows(20)))
    path = root / "chat.jinja"
    if template is not None:
        path.write_bytes(template if isinstance(template, bytes) else template.encode())
    dataset = dataclasses.replace(config.dataset, chat_template=FileSource(NAME, str(path)))
    return dataclasses.replace(config, dataset=dataset), workspace


def refusal(folder: Path, template: str) -> StageError:
    tokenizer = load_tokenizer(build_tiny_tokenizer(folder), "tiny", template)
    with pytest.raises(StageError) as caught:
        require_usable(tokenizer, NAME)
    assert (caught.value.code, caught.value.outcome) == (StageFailure.ARGUMENT_REFUSED, Outcome.USER_ERROR)
    return caught.value


def test_rows_are_written_with_it_and_it_is_kept_for_the_later_stages(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = job_with(tmp_path, tiny_model, OWN)

    summary = prepare.run(config, workspace)

    tokenizer: Any = load_tokenizer(tiny_model, "tiny")
    texts = [tokenizer.decode(row.input_ids) for row in read_rows(workspace.train_rows)]
    assert all(text.startswith("[user] ") and "[assistant] The leave is" in text for text in texts)
    assert workspace.chat_template.read_text() == OWN
    report = json.loads(workspace.data_report.read_text())
    assert report["chat_template"]["name"] == NAME
    assert NAME not in {item["name"] for item in report["inputs"]}
    inputs = {item["name"]: item for item in json.loads((workspace.inputs / "inputs.json").read_text())}
    assert inputs[NAME]["digest"] == report["chat_template"]["digest"]

    without = prepare.run(
        dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, chat_template=None)), workspace
    )

    assert without.digest != summary.digest
    assert not workspace.chat_template.exists()


def test_it_stands_in_for_a_model_that_has_none(tmp_path: Path) -> None:
    folder = build_tiny_tokenizer(tmp_path, chat_template=None)

    require_usable(load_tokenizer(folder, "tiny", OWN), NAME)
    with pytest.raises(StageError) as caught:
        load_tokenizer(folder, "tiny")

    assert caught.value.code is StageFailure.CHAT_TEMPLATE_MISSING
    assert "dataset.chatTemplate" in caught.value.advice


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OWN, THINKING, "{{ bos_token }}" + CHAT_TEMPLATE])
def test_usual_templates_are_usable(tmp_path: Path, template: str) -> None:
    require_usable(load_tokenizer(build_tiny_tokenizer(tmp_path), "tiny", template), NAME)


@pytest.mark.parametrize(
    ("template", "says", "advice"),
    [
        ("{% for m in messages %}\n{{ m['content'] }", "chat.jinja, line 2: ", "mend it"),
        ("{{ raise_exception('no') }}", "cannot write a conversation of user and assistant", "role and content"),
        ("{{ messages[0].text.upper() }}", "cannot write a conversation of user and assistant", "role and content"),
        ("{{ 1 / 0 }}", "cannot write a conversation of user and assistant", "role and content"),
        ("{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__.os.popen('id') }}", "cannot write", "sandbox"),
        ("{% include '/etc/passwd' %}", "cannot write", "sandbox"),
        (f"{{% if messages|length > 2 %}}{{{{ raise_exception('x') }}}}{{% endif %}}{OWN}", "cannot write", "role"),
        (BODY.replace(" + eos_token", " + '\n'"), "without a token that ends it", "{{ eos_token }}"),
        (f"{OWN}{{{{ messages[0]['content'] }}}}", "tokens of its prompt among those that are trained", "template"),
        (BODY + "{% if add_generation_prompt %}bot: {% endif %}", "asks for an answer in another way", "no more"),
    ],
)
def test_a_template_that_is_of_no_use_is_refused(tmp_path: Path, template: str, says: str, advice: str) -> None:
    error = refusal(tmp_path, template)

    assert NAME in error.message
    assert says in error.message
    assert advice in error.advice


@pytest.mark.parametrize(
    ("template", "code", "says"),
    [
        (None, StageFailure.CHAT_TEMPLATE_MISSING, f"{NAME} does not exist"),
        (b"\xff\xfe", StageFailure.ARGUMENT_REFUSED, f"{NAME}, line 1: not UTF-8 text"),
        (" \n", StageFailure.ARGUMENT_REFUSED, f"{NAME} is empty"),
        (OWN + " " * MOST_BYTES, StageFailure.ARGUMENT_REFUSED, "which is no chat template"),
    ],
)
def test_a_file_that_is_none_ends_the_job(
    tmp_path: Path, tiny_model: Path, template: str | bytes | None, code: StageFailure, says: str
) -> None:
    config, workspace = job_with(tmp_path, tiny_model, template)

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is code
    assert says in caught.value.message


def test_other_processes_write_with_it_too(tmp_path: Path) -> None:
    folder = build_tiny_tokenizer(tmp_path / "model")
    rows = RowStore.of(
        pack(
            [
                Conversation(f"a:{block}-{n}", (Message("user", "q"), Message("assistant", "a " * 50)))
                for n in range(400)
            ]
        )
        for block in range(12)
    )
    encoder = Encoder(load_tokenizer(folder, "tiny", OWN), folder, "tiny", everything=False, template=OWN)
    tokenizer: Any = load_tokenizer(folder, "tiny")

    with Workers(2) as workers:
        found = list(workers.map(encoder, rows.blocks()))

    first, last = (
        tokenizer.decode(list(memoryview(block.tokens.data).cast("i"))[: block.tokens.lengths[0]])
        for block in (found[0], found[-1])
    )
    assert first == last
    assert first.startswith("[user] q")
