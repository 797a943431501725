"""`vernacular try` with real models: the question in a terminal, and a page over HTTP."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from support.command_line import Shell
from support.stage_jobs import make_job
from support.tiny_model import build_tiny_model
from vernacular_trainer.contract import MethodConfig, Stage
from vernacular_trainer.data.rows import Message
from vernacular_trainer.model.base import load_base
from vernacular_trainer.trying.models import ChatModels
from vernacular_trainer.trying.replies import UnaskableError, Which

pytestmark = pytest.mark.slow

QUESTION = "how long is the notice period"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job has been trained, as vernacular run leaves it."""
    home = tmp_path_factory.mktemp("home")
    model = build_tiny_model(home / "tiny")
    # a model without sense comes to no end before this one
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 90}))
    work = home / "vernacular-runs" / "hr-bot"
    _write_adapter(model, work / "workspace" / "result" / "adapter")
    spec = {"model": {"uri": "hf://org/tiny"}, "method": {"type": "LoRA"}, "compute": {"gpusPerPod": 0}}
    dataset = {"train": [{"configMap": {"name": "local", "key": "file-0"}}]}
    job = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "hr-bot"}}
    request = {
        "job": {**job, "spec": {**spec, "dataset": dataset}},
        "files": {"file-0": {"name": "rows.jsonl", "path": "/nowhere/rows.jsonl"}},
        "model": str(model), "gpus": None, "tracking": "sqlite:///nowhere.db",
    }  # fmt: skip
    (work / "request.json").write_text(json.dumps(request))
    (work / "state.json").write_text(json.dumps({"uid": "uid-1", "done": {"Train": {}}}))
    return home


def _write_adapter(model: Path, folder: Path) -> None:
    torch.manual_seed(0)
    # random weights, where those of a new adapter would change nothing
    configuration = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(load_base(model, torch.float32), configuration).save_pretrained(str(folder))


def test_base_and_tuned_side_by_side(home: Path) -> None:
    with Shell(None, home).terminal("try", "hr-bot", "--ask", QUESTION, columns=100) as screen:
        ended = screen.end(seconds=120)

    assert ended == 0, screen.raw
    lines = screen.shown.split("\n")
    place = lines.index(QUESTION)
    assert re.fullmatch(r"Base model {41}Tuned model", lines[place + 2]), screen.shown
    answers = [(line[:48].strip(), line[48:].strip()) for line in lines[place + 4 :] if line.strip()]
    base, tuned = (" ".join(part) for part in zip(*answers, strict=True))
    # the adapter was put aside for the base
    assert base != tuned
    assert base
    assert all(len(line) <= 100 for line in lines[place:])


def test_a_page_until_ctrl_c(home: Path) -> None:
    shell = Shell(None, home)
    with shell.terminal("try", "hr-bot", columns=200) as screen:
        screen.until("Ctrl-C ends it", seconds=120)
        url = re.search(r"answer at (http://127\.0\.0\.1:\d+/)", screen.raw)
        assert url, screen.raw
        with httpx2.Client(base_url=url.group(1), trust_env=False, timeout=120) as client:
            asked = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12}
            replies = {
                model: client.post("/v1/chat/completions", json={**asked, "model": model}).json()
                for model in ("base", "tuned", "base")
            }
            stream = client.post("/v1/chat/completions", json={**asked, "model": "tuned", "stream": True}).text
            judged = {"question": QUESTION, "base": "x", "tuned": "y", "answer": "90 days", "tunedIs": "wrong"}
            written = client.post("/judgements", json=judged).json()["written"]
        taken = shell.run("try", "hr-bot", "--port", str(httpx2.URL(url.group(1)).port))
        ended = screen.interrupt()

    assert ended == 0, screen.raw
    texts = {model: reply["choices"][0]["message"]["content"] for model, reply in replies.items()}
    assert texts["base"] != texts["tuned"]
    events = [json.loads(part.removeprefix("data: ")) for part in stream.split("\n\n") if part.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events).strip() == texts["tuned"]
    assert Path(written) == home / "vernacular-runs" / "hr-bot" / "collect-next.jsonl"
    assert json.loads(Path(written).read_text())["answer"] == "90 days"
    assert taken.returncode == 1
    assert "cannot be used: Address already in use\n  name another one with --port" in taken.stderr


def test_a_whole_model_and_a_system_prompt(home: Path, tmp_path: Path) -> None:
    messages = (Message("user", QUESTION),)

    def tried(system_prompt: str) -> ChatModels:
        config, workspace = make_job(tmp_path, home / "tiny", Path("rows.jsonl"), Stage.EVALUATE)
        config = replace(config, method=MethodConfig("Full"))
        config = replace(config, dataset=replace(config.dataset, system_prompt=system_prompt))
        adapter = home / "vernacular-runs" / "hr-bot" / "workspace" / "result" / "adapter"
        merged = PeftModel.from_pretrained(load_base(home / "tiny", torch.float32), str(adapter)).merge_and_unload()
        merged.save_pretrained(str(workspace.result / "model"))
        return ChatModels.load(config, workspace)

    plain, told = tried(""), tried("be brief")
    base, tuned = (plain.answer(which, messages, 40, lambda _: None) for which in Which)
    heard: list[str] = []
    after = told.answer(Which.TUNED, messages, 40, heard.append)

    assert base.text != tuned.text
    assert after.prompt_tokens > tuned.prompt_tokens == base.prompt_tokens
    assert "".join(heard).strip() == after.text
    with pytest.raises(UnaskableError, match="and the model reads 90"):
        plain.answer(Which.BASE, (Message("user", QUESTION * 20),), 8, heard.append)


def test_jobs_that_cannot_be_tried(home: Path, tmp_path: Path) -> None:
    work = home / "vernacular-runs" / "hr-bot"
    (tmp_path / "request.json").write_text((work / "request.json").read_text())
    shell = Shell(None, home)

    missing, untrained = shell.run("try", "hr-bto"), shell.run("try", "hr-bot", "--work", str(tmp_path))

    assert (missing.returncode, untrained.returncode) == (1, 1)
    assert f"there is no job in {home}/vernacular-runs/hr-bto" in missing.stderr
    assert "hr-bot has not been trained yet" in untrained.stderr
