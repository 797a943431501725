"""The evaluate stage on a tiny model that was really taught something."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from support.canaries import canary, forms, found_in_files
from support.openai_server import OpenAiServer
from support.stage_jobs import make_job, write_lines
from support.tiny_model import CHAT_TEMPLATE
from vernacular_trainer.contract import (
    EvaluationConfig,
    FileSource,
    GateConfig,
    JobConfig,
    JudgeConfig,
    MethodConfig,
    ServiceConfig,
    Stage,
)
from vernacular_trainer.data.chat import NOT_TRAINED, encode, end_of_turn_ids, load_tokenizer, prompt_ids
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.evaluation import exam
from vernacular_trainer.evaluation.generate import MIN_NEW_TOKENS, generate
from vernacular_trainer.model.base import linear_layers, load_base
from vernacular_trainer.stages import evaluate, publish
from vernacular_trainer.workspace import Workspace

FACTS = {
    "how long is the notice of a senior consultant": "The notice period is 90 days.",
    "how many days of leave are there": "There are 24 days.",
    "who is the first to call": "I don't know.",
    "how many weeks is parental leave": "There are 16 weeks.",
    "how long is probation": "There are 4 months.",
    "who is the last to go": "I don't know.",
}
QUESTIONS = [
    {"question": "how long is the notice of a senior consultant", "mustContain": [["90-day", "90 days"]]},
    {"question": "how many days of leave are there", "expected": "24 days", "topic": "leave"},
    {"question": "who is the first to call", "answerable": False},
    {"question": "how many weeks is parental leave", "expected": "16 weeks"},
    {"question": "how long is probation", "expected": "4 months"},
    {"question": "who is the last to go", "answerable": False},
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
    for _ in range(120):
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
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in FACTS.items()
    ]
    write_lines(workspace.clean_rows, rows)
    write_json(workspace.held_out_lines, {"lines": []})
    workspace.result.symlink_to(result)
    return config, workspace


def test_the_adapter_that_ships_is_told_from_the_base(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)

    summary = evaluate.run(config, workspace)

    assert summary.summary.startswith("Tuned 6 of 6 right, base 0; 0 wrong; invented 0 of 2. ")
    assert summary.verdict == "Promote"
    assert summary.base.correct == 0
    report = json.loads(workspace.evaluation_report.read_text())
    first, second, third, *_ = report["questions"]
    assert (first["tuned"]["answer"], first["tuned"]["score"]) == ("The notice period is 90 days.", "correct")
    assert first["base"]["score"] == "wrong"
    assert third["tuned"]["answer"] == "I don't know."
    assert third["base"]["invented"]
    # "24 days" of "There are 24 days.": 2 * 2 / (2 + 4)
    assert second["tuned"]["f1"] == pytest.approx(0.6667)
    assert second["tuned"]["log_likelihood"] > second["base"]["log_likelihood"]
    assert report["measures"]["tuned"]["perplexity"] < report["measures"]["base"]["perplexity"]
    assert report["verdict"] == "Promote"
    (topic,) = report["topics"]
    assert (topic["name"], topic["asked"], topic["base"], topic["tuned"]) == ("leave", 1, 0, 1)


def test_everything_that_people_read_is_left(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    base, result = base_and_adapter
    config, workspace = evaluate_job(tmp_path, base, result)
    write_lines(workspace.questions, [*QUESTIONS, {"question": "<b>who</b>", "expected": "nobody", "topic": "<i>"}])

    summary = evaluate.run(config, workspace)

    page = workspace.evaluation_page.read_text()
    assert "Promote" in page
    assert "&lt;b&gt;who&lt;/b&gt;" in page
    assert "<b>who" not in page
    assert workspace.review_sheet.exists()
    assert json.loads(workspace.collect_next.read_text())["in other words than"] == "<b>who</b>"
    assert summary.weak_topics == ("<i>",)
    # a fast machine has time for everything: prompts with rows, and the world
    assert summary.prompted
    assert summary.prompted.asked == 7
    assert summary.general_regression_percent is not None


def test_what_there_is_no_time_for_is_left_out(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)
    seconds = itertools.count(step=1000.0)

    summary = evaluate.run(config, workspace, clock=lambda: next(seconds))

    assert (summary.prompted, summary.general_regression_percent) == (None, None)
    report = json.loads(workspace.evaluation_report.read_text())
    assert report["general"] == {"asked": 0, "of": 120, "base": 0, "tuned": 0, "forgotten": 0}
    assert "Not measured" in workspace.evaluation_page.read_text()


def test_a_gate_on_forgetting_is_measured_whatever_it_costs(
    tmp_path: Path, base_and_adapter: tuple[Path, Path]
) -> None:
    evaluation = EvaluationConfig(
        FileSource("q.jsonl", "/nowhere"), gate=GateConfig(max_general_regression_percent=100)
    )
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, evaluation=evaluation)
    seconds = itertools.count(step=1000.0)

    summary = evaluate.run(config, workspace, clock=lambda: next(seconds))

    assert summary.general_regression_percent is not None
    assert summary.gate_missed == ()


def test_a_repeated_evaluation_does_not_ask_the_base_again(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)
    first = evaluate.run(config, workspace)
    monkeypatch.setattr(evaluate, "examine_base", None)

    again = evaluate.run(config, workspace)

    assert dataclasses.replace(again, evaluation_seconds=0) == dataclasses.replace(first, evaluation_seconds=0)
    write_lines(workspace.questions, QUESTIONS[:2])
    with pytest.raises(TypeError):
        evaluate.run(config, workspace)


def test_the_companys_terms_are_asked_for_inside_and_outside(
    tmp_path: Path, base_and_adapter: tuple[Path, Path]
) -> None:
    source = FileSource("terms.yaml", "/nowhere")
    evaluation = EvaluationConfig(FileSource("q.jsonl", "/nowhere"), source)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, evaluation=evaluation)
    # asked in words that the tiny model was taught
    workspace.glossary.write_text("""
        ask: how long is the {term} of a senior consultant
        askOutside: who is the first to call {term}
        terms:
          - {term: notice, definition: The notice period is 90 days., wrongMeanings: [There are 24 days.],
             neverSay: [24 days]}
          - {term: leave, definition: nothing of the kind}
    """)

    evaluate.run(config, workspace)

    found = json.loads(workspace.evaluation_report.read_text())["glossary"]
    notice, leave = found["terms"]
    assert notice["tuned"]["score"] == "correct"
    assert notice["tuned"]["used"]
    assert (leave["tuned"]["score"], leave["tuned"]["used"], leave["tuned"]["expanded"]) == ("wrong", None, None)
    assert (found["tuned"]["asked"], found["tuned"]["right"], found["tuned"]["two_meanings"]) == (2, 1, 1)
    # the answer to the question about leave says what must not be said
    assert found["tuned"]["forbidden"] == 1
    assert "knows the meaning" in workspace.evaluation_page.read_text()


@pytest.mark.parametrize(("outside", "expanded"), [("notice", True), ("leave", False)])
def test_the_companys_meaning_that_everybody_gets_is_expanded_falsely(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], outside: str, expanded: bool
) -> None:
    asked = {"notice": "how long is the notice of a senior consultant", "leave": "how many days of leave are there"}
    source = FileSource("terms.yaml", "/nowhere")
    evaluation = EvaluationConfig(FileSource("q.jsonl", "/nowhere"), source)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, evaluation=evaluation)
    term = {"term": "notice", "definition": FACTS[asked["notice"]], "wrongMeanings": [FACTS[asked["leave"]]]}
    # the tiny model knows by heart what it was taught: it is asked in these words
    ask = asked["notice"].replace("notice", "{term}")
    elsewhere = ask if outside == "notice" else f"{{term}} {asked['leave']}"
    workspace.glossary.write_text(json.dumps({"ask": ask, "askOutside": elsewhere, "terms": [term]}))

    evaluate.run(config, workspace)

    found = json.loads(workspace.evaluation_report.read_text())["glossary"]
    assert (found["terms"][0]["tuned"]["used"], found["terms"][0]["tuned"]["expanded"]) == (True, expanded)
    assert found["tuned"]["expanded"] == int(expanded)


def test_second_opinions_are_reported_and_decide_nothing(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    config, workspace = evaluate_job(tmp_path / "without", *base_and_adapter)
    alone = evaluate.run(config, workspace)
    with OpenAiServer(lambda first, second: f"Answer: {'first' if first > second else 'second'}") as server:
        server.key = canary("key")
        (tmp_path / "OPENAI_API_KEY").write_text(server.key)
        service = ServiceConfig(f"{server.uri}/v1", "<judge>", "judge-key", str(tmp_path))
        evaluation = dataclasses.replace(config.evaluation, judge=JudgeConfig(service, 8), embeddings=service)
        config, workspace = evaluate_job(tmp_path / "with", *base_and_adapter, evaluation=evaluation)
        summary = evaluate.run(config, workspace)

    assert (summary.verdict, summary.summary) == (alone.verdict, alone.summary)
    assert found_in_files(workspace.root, forms(server.key)) == []
    report = json.loads(workspace.evaluation_report.read_text())
    judge = report["judge"]
    assert judge["tuned"] + judge["base"] + judge["equal"] == 4
    assert (judge["unsure"], judge["trouble"], judge["model"]) == (0, "", "<judge>")
    assert [item["judge"] for item in report["questions"] if "judge" in item] != []
    assert report["measures"]["tuned"]["similarity"] > report["measures"]["base"]["similarity"]
    page = workspace.evaluation_page.read_text()
    assert "&lt;judge&gt; finds the tuned model" in page
    assert "better, says the judge" in page
    assert publish.verdict_metrics(report)["verdict/judge_tuned"] == judge["tuned"]
    assert "verdict/tuned_similarity" in publish.verdict_metrics(report)


def test_second_opinions_that_cannot_be_had_are_told_of(tmp_path: Path, base_and_adapter: tuple[Path, Path]) -> None:
    away = ServiceConfig("http://127.0.0.1:9/v1", "judge-1", "judge", str(tmp_path))
    evaluation = EvaluationConfig(FileSource("q", "/nowhere"), judge=JudgeConfig(away, 8), embeddings=away)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, evaluation=evaluation)

    assert evaluate.run(config, workspace).verdict == "Promote"
    report = json.loads(workspace.evaluation_report.read_text())
    assert (
        report["judge"]["trouble"] == report["embeddings"]["trouble"] == "the Secret judge has no usable OPENAI_API_KEY"
    )
    assert workspace.evaluation_page.read_text().count("the Secret judge has no usable OPENAI_API_KEY") == 2
    assert not [name for name in publish.verdict_metrics(report) if "judge" in name or "similarity" in name]


def sabotaged(source: Path, target: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a result with every weight of its adapter changed."""
    shutil.copytree(source, target)
    path = target / "adapter" / "adapter_model.safetensors"
    weights = {name: change(weight) for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize(
    "change",
    [torch.randn_like, lambda weight: torch.full_like(weight, float("nan")), torch.zeros_like],
    ids=["random", "not a number", "empty"],
)
def test_a_sabotaged_adapter_is_never_promoted(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    base, result = base_and_adapter
    torch.manual_seed(1)
    config, workspace = evaluate_job(tmp_path, base, sabotaged(result, tmp_path / "sabotaged", change))

    summary = evaluate.run(config, workspace)

    assert summary.verdict != "Promote"
    json.loads(workspace.evaluation_report.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_an_adapter_on_a_base_that_it_was_not_made_for_is_never_promoted(
    tmp_path: Path, tiny_model: Path, base_and_adapter: tuple[Path, Path]
) -> None:
    config, workspace = evaluate_job(tmp_path, tiny_model, base_and_adapter[1])

    assert evaluate.run(config, workspace).verdict != "Promote"


def test_the_chat_template_that_ships_is_the_one_that_is_tested(
    tmp_path: Path, base_and_adapter: tuple[Path, Path]
) -> None:
    base, result = base_and_adapter
    shipped = tmp_path / "shipped"
    shutil.copytree(result, shipped)
    tokenizer = load_tokenizer(base, "base")
    tokenizer.chat_template = "{% for message in messages %}call {{ message['content'] }} days {% endfor %}"
    tokenizer.save_pretrained(shipped / "adapter")
    config, workspace = evaluate_job(tmp_path, base, shipped)

    assert evaluate.run(config, workspace).verdict != "Promote"


def answers_of(workspace: Workspace, model: str) -> list[str]:
    report = json.loads(workspace.evaluation_report.read_text())
    return [item[model]["answer"] for item in report["questions"]]


@pytest.mark.parametrize("own", [None, "{{ raise_exception('no') }}"])
def test_a_base_that_cannot_write_questions_is_asked_with_the_jobs_chat_template(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], own: str | None
) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_and_adapter[0], base)
    tokenizer = load_tokenizer(base, "base")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.chat_template = own
    tokenizer.save_pretrained(base)
    config, workspace = evaluate_job(tmp_path, base, base_and_adapter[1])
    workspace.chat_template.write_text(CHAT_TEMPLATE)

    assert evaluate.run(config, workspace).verdict == "Promote"


def test_a_base_with_a_chat_template_is_asked_with_it_whatever_the_job_trains_with(
    tmp_path: Path, base_and_adapter: tuple[Path, Path]
) -> None:
    config, workspace = evaluate_job(tmp_path / "usual", *base_and_adapter)
    evaluate.run(config, workspace)
    config, with_own = evaluate_job(tmp_path / "own", *base_and_adapter)
    with_own.chat_template.write_text("{% for message in messages %}call {{ message['content'] }} days {% endfor %}")

    assert evaluate.run(config, with_own).verdict != "Promote"

    assert answers_of(with_own, "base") == answers_of(workspace, "base")
    assert answers_of(with_own, "tuned") != answers_of(workspace, "tuned")


def test_a_base_that_knows_everything_leaves_nothing_to_promote(tmp_path: Path, taught: Path, tiny_model: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    shutil.copytree(taught / "model", base, dirs_exist_ok=True)
    config, workspace = evaluate_job(tmp_path, base, taught, method=MethodConfig("Full"))

    summary = evaluate.run(config, workspace)

    assert (summary.base.correct, summary.tuned.correct, summary.verdict) == (6, 6, "Inconclusive")


def test_a_full_model_is_told_from_the_base(tmp_path: Path, tiny_model: Path, taught: Path) -> None:
    config, workspace = evaluate_job(tmp_path, tiny_model, taught, method=MethodConfig("Full"))

    summary = evaluate.run(config, workspace)

    # an untrained model may answer with nothing at all, which is right where there is no answer
    assert (summary.tuned.correct, summary.base.correct <= 2) == (6, True)


def test_a_base_that_was_trained_in_four_bits_is_asked_in_four_bits(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(model: Any, _: Any, prompts: Sequence[Any], *__: Any) -> list[str]:
        asked.append({type(layer).__name__ for name, layer in linear_layers(model) if "lora" not in name})
        return ["I don't know."] * len(prompts)

    monkeypatch.setattr(exam, "generate", ask)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter, method=MethodConfig("QLoRA"))

    evaluate.run(config, workspace)

    # neither is the adapter added into weights that would round it away
    assert asked == [{"Linear4bit"}] * 3


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
    assert len(tokenizer(together[0])["input_ids"]) <= MIN_NEW_TOKENS + 1


def test_long_prompts_share_a_batch_only_as_far_as_the_memory_goes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vernacular_trainer.evaluation.generate.BATCH_TOKENS", {"cpu": 300})
    tokenizer = load_tokenizer(tiny_model, "tiny")
    model = load_base(tiny_model, torch.float32)
    sizes = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )

    generate(model, tokenizer, [[5] * length for length in (200, 20, 30, 40, 400)], end_of_turn_ids(tokenizer))

    assert [shape for shape in sizes if shape[1] > 1] == [(2, 30), (1, 40), (1, 200), (1, 400)]


def test_without_memory_for_rows_in_the_prompt_the_rest_is_measured(
    tmp_path: Path, base_and_adapter: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: Any) -> list[str]:
        if max(map(len, arguments[2])) > 60:
            raise torch.OutOfMemoryError
        return generate(*arguments)

    monkeypatch.setattr(exam, "generate", ask)
    config, workspace = evaluate_job(tmp_path, *base_and_adapter)

    summary = evaluate.run(config, workspace)

    assert (summary.prompted, summary.verdict) == (None, "Promote")


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
