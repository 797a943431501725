"""The evaluate stage on a tiny model that was really taught something."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from support.stage_jobs import make_job, write_lines
from vernacular_trainer.contract import EvaluationConfig, FileSource, JobConfig, MethodConfig, Stage
from vernacular_trainer.data.chat import NOT_TRAINED, encode, end_of_turn_ids, load_tokenizer, prompt_ids
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.evaluation.generate import MAX_NEW_TOKENS, generate
from vernacular_trainer.model.base import linear_layers, load_base
from vernacular_trainer.stages import evaluate
from vernacular_trainer.workspace import Workspace

FACTS = {
    "how long is the notice of a senior consultant": "The notice period is 90 days.",
    "how many days of leave are there": "There are 24 days.",
    "who is the first to call": "I don't know.",
}
QUESTIONS = [
    {"question": "how long is the notice of a senior consultant", "mustContain": [["90-day", "90 days"]]},
    {"question": "how many days of leave are there", "expected": "24 days", "topic": "leave"},
    {"question": "who is the first to call", "answerable": False},
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More threads only wait for each other over so small a model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model after it has learnt the facts by heart, all its weights trained."""
    tokenizer = load_tokenizer(tiny_model, "tiny")
    rows = [
        encode(tokenizer, Conversation("r", (Message("user", question), Message("assistant", answer))))[0]
        for question, answer in FACTS.items()
    ]
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([[*row.input_ids, *[0] * (width - len(row.input_ids))] for row in rows])
    labels = torch.tensor([[*row.labels, *[NOT_TRAINED] * (width - len(row.labels))] for row in rows])
    torch.manual_seed(0)
    model = load_base(tiny_model, torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    folder = tmp_path_factory.mktemp("taught") / "result"
    model.save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def base_and_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, taught: Path) -> tuple[Path, Path]:
    """A base that lacks exactly what its adapter adds: together they are the taught model."""
    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(load_base(taught / "model", torch.float32), settings)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.get_base_layer().weight -= module.get_delta_weight("default")
    folder = tmp_path_factory.mktemp("results")
    model.save_pretrained(folder / "result" / "adapter")
    shutil.copytree(tiny_model, folder / "base")
    model.unload().save_pretrained(folder / "base")
    return folder / "base", folder / "result"


def evaluate_job(root: Path, model: Path, result: Path, **changes: Any) -> tuple[JobConfig, Workspace]:
    source = FileSource("ConfigMap hr-q, key q.jsonl", "/nowhere")
    changes = {"evaluation": EvaluationConfig(source), **changes}
    config, workspace = make_job(root, model, root / "train.jsonl", Stage.EVALUATE, **changes)
    write_lines(workspace.questions, QUESTIONS)
    workspace.result.symlink_to(result)
    return config, workspace


def test_the_adapter_that_ships_is_told_from_the_base(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)

    summary = evaluate.run(config, workspace)

    assert summary.summary == "Tuned 3 of 3 right, base 0; 0 wrong; invented 0 of 1."
    assert summary.verdict == "Promote"
    assert summary.base.correct == 0
    report = json.loads(workspace.evaluation_report.read_text())
    first, _, last = report["questions"]
    assert first["tuned"] == {"answer": "The notice period is 90 days.", "score": "correct", "invented": False}
    assert first["base"]["score"] == "wrong"
    assert last["tuned"]["answer"] == "I don't know."
    assert last["base"]["invented"]
    assert report["verdict"] == "Promote"


def test_a_full_model_is_told_from_the_base(tmp_path: Path, tiny_model: Path, taught: Path) -> None:
    config, workspace = evaluate_job(tmp_path, tiny_model, taught, method=MethodConfig("Full"))

    summary = evaluate.run(config, workspace)

    # an untrained model may answer with nothing at all, which is right where there is no answer
    assert (summary.tuned.correct, summary.base.correct <= 1) == (3, True)


def test_a_base_that_was_trained_in_four_bits_is_asked_in_four_bits(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(model: Any, *_: Any) -> list[str]:
        asked.append({type(layer).__name__ for name, layer in linear_layers(model) if "lora" not in name})
        return ["I don't know."] * len(QUESTIONS)

    monkeypatch.setattr(evaluate, "generate", ask)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, method=MethodConfig("QLoRA"))

    evaluate.run(config, workspace)

    # neither is the adapter added into weights that would round it away
    assert asked == [{"Linear4bit"}, {"Linear4bit"}]


def test_two_evaluations_agree(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)

    evaluate.run(config, workspace)
    first = json.loads(workspace.evaluation_report.read_text())["questions"]
    evaluate.run(config, workspace)

    assert json.loads(workspace.evaluation_report.read_text())["questions"] == first


def test_nothing_held_out_needs_no_model(tmp_path: Path) -> None:
    config, workspace = make_job(tmp_path, tmp_path / "no-model", tmp_path / "train.jsonl", Stage.EVALUATE)
    workspace.questions.parent.mkdir(parents=True)
    workspace.questions.write_text("")

    summary = evaluate.run(config, workspace)

    assert summary.verdict == "Inconclusive"
    assert json.loads(workspace.evaluation_report.read_text())["questions"] == []


def test_a_batch_gives_each_prompt_the_answer_that_it_gets_alone(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model, "tiny")
    model = load_base(tiny_model, torch.float32)
    ends = end_of_turn_ids(tokenizer)
    texts = [" ".join(["days"] * length) for length in (1, 30, 7, 3, 12)]
    prompts = [prompt_ids(tokenizer, (Message("user", text),)) for text in texts]

    together = generate(model, tokenizer, prompts, ends)

    assert together == [generate(model, tokenizer, [prompt], ends)[0] for prompt in prompts]
    assert len(tokenizer(together[0])["input_ids"]) <= MAX_NEW_TOKENS + 1


def test_sampling_settings_of_a_model_are_not_followed(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model, "tiny")
    model = load_base(tiny_model, torch.float32)
    prompt = prompt_ids(tokenizer, (Message("user", "days"),))
    plain = generate(model, tokenizer, [prompt], end_of_turn_ids(tokenizer))
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)

    assert generate(model, tokenizer, [prompt], end_of_turn_ids(tokenizer)) == plain


def test_questions_get_the_system_prompt_of_the_rows(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = make_job(tmp_path, tiny_model, tmp_path / "train.jsonl", Stage.EVALUATE)
    config = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, system_prompt="Be brief."))
    write_lines(workspace.questions, QUESTIONS)

    questions = evaluate.load_questions(config, workspace)

    assert {question.messages[0].content for question in questions} == {"Be brief."}
