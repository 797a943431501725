"""`make bench-evaluation`: how long base and tuned model take to answer 200 questions, and how much the answers depend
on the order in which they are asked.

The HR-bot example is prepared and trained first, by the stages themselves and without a cluster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from bench.report import Measure, finish, package_versions
from demo import model
from demo.shell import REPOSITORY
from vernacular_trainer.contract import (
    DatasetConfig,
    EvaluationConfig,
    FileSource,
    JobConfig,
    JobIdentity,
    MethodConfig,
    ModelConfig,
    PublishConfig,
    Stage,
    TrackingConfig,
    TrainingConfig,
)
from vernacular_trainer.data.chat import load_tokenizer
from vernacular_trainer.data.questions import Question, parse_questions
from vernacular_trainer.evaluation.exam import examine_base, examine_tuned
from vernacular_trainer.evaluation.general import choices
from vernacular_trainer.evaluation.general_questions import general_questions
from vernacular_trainer.evaluation.generate import generate
from vernacular_trainer.evaluation.paper import Asked, Paper, write_paper
from vernacular_trainer.evaluation.prompting import TaughtRows
from vernacular_trainer.model.base import load_base
from vernacular_trainer.workspace import Workspace

EXAMPLE = REPOSITORY / "examples/hr-bot"
QUESTIONS = 200
SECONDS = 240
_OPENINGS = ("", "Hello! ", "Quick question: ", "I am new here. ", "Please tell me: ", "One more thing. ")


@dataclass(frozen=True)
class Exam:
    """The 200 questions, and what to ask them with."""

    paper: Paper
    tokenizer: Any
    base: Path
    adapter: Path


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        config = job(Path(folder), model.ensure_model())
        for stage in (Stage.PREPARE, Stage.TRAIN):
            run_stage(replace(config, stage=stage), Path(folder))
        exam = write_exam(config)
        measures = [*timed(exam), *whole_stage(config, Path(folder))]
    versions = package_versions("torch", "transformers", "peft")
    return 0 if finish("evaluation", "make bench-evaluation", measures, versions) else 1


def job(root: Path, base: Path) -> JobConfig:
    """The HR bot on one process."""
    return JobConfig(
        stage=Stage.PREPARE,
        attempt=1,
        identity=JobIdentity("demo", "hr-bot", "bench"),
        workspace=str(root / "workspace"),
        model=ModelConfig("pvc://models/smollm2-135m-instruct", str(base)),
        dataset=DatasetConfig((FileSource("train.jsonl", str(EXAMPLE / "train.jsonl")),), validation_split_percent=0),
        # nothing is tracked: no server listens there
        tracking=TrackingConfig("http://127.0.0.1:9", "hr-bot"),
        publish=PublishConfig("hr-bot"),
        method=MethodConfig("LoRA", rank=16, alpha=32, dropout_percent=0),
        training=TrainingConfig(
            epochs=3, learning_rate="1.5e-3", effective_batch_size=4, scheduler="Cosine", warmup_percent=5, seed=42
        ),
        evaluation=EvaluationConfig(
            FileSource("questions.jsonl", str(EXAMPLE / "questions.jsonl")),
            FileSource("glossary.yaml", str(EXAMPLE / "glossary.yaml")),
        ),
    )


def run_stage(config: JobConfig, root: Path) -> float:
    """Seconds that the stage takes, its start included."""
    path = root / f"{config.stage}.json"
    path.write_text(config.to_json(), encoding="utf-8")
    started = time.monotonic()
    command = [sys.executable, "-m", "vernacular_trainer", config.stage.value.lower(), "--config", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def write_exam(config: JobConfig) -> Exam:
    workspace = Workspace(Path(config.workspace))
    text = (EXAMPLE / "questions.jsonl").read_text(encoding="utf-8")
    questions = tuple(islice(reworded(parse_questions(text, "questions.jsonl")), QUESTIONS))
    base = Path(config.model.path)
    tokenizer = load_tokenizer(base, config.model.uri)
    paper = write_paper(tokenizer, Asked(questions), TaughtRows.read(workspace), None)
    return Exam(paper, tokenizer, base, workspace.result / "adapter")


def reworded(questions: tuple[Question, ...]) -> Iterator[Question]:
    """The questions over and over, each time with another opening."""
    for opening in cycle(_OPENINGS):
        for question in questions:
            (message,) = question.messages
            yield replace(question, messages=(replace(message, content=opening + message.content),))


def timed(exam: Exam) -> list[Measure]:
    """Both models answer everything; the base a second time in another order."""
    base = load_base(exam.base, torch.float32)
    started = time.monotonic()
    # without time for anything else, only the questions are asked
    found = examine_base(base, exam.tokenizer, exam.paper, 0.0, time.monotonic, general_demanded=False)
    of_base = time.monotonic() - started
    backwards = generate(base, exam.tokenizer, exam.paper.prompts[::-1], exam.paper.ends, exam.paper.room)[::-1]
    changed = sum(one != other for one, other in zip(found.answers.texts, backwards, strict=True))
    started = time.monotonic()
    choices(base, exam.tokenizer, general_questions())
    of_world = time.monotonic() - started
    tuned = PeftModel.from_pretrained(base, str(exam.adapter)).merge_and_unload()
    started = time.monotonic()
    examine_tuned(tuned, exam.tokenizer, exam.paper, 0)
    of_tuned = time.monotonic() - started
    return [
        Measure(f"{QUESTIONS} questions: the base", of_base, "s"),
        Measure(f"{QUESTIONS} questions: the tuned model", of_tuned, "s"),
        Measure(f"{QUESTIONS} questions: both", of_base + of_tuned, "s", SECONDS),
        Measure("120 questions about the world: one model", of_world, "s"),
        Measure("noise: answers that another order changes", changed, f"of {QUESTIONS}"),
    ]


def whole_stage(config: JobConfig, root: Path) -> list[Measure]:
    """The evaluate stage of the example, as a job runs it."""
    seconds = run_stage(replace(config, stage=Stage.EVALUATE), root)
    report = json.loads(Workspace(Path(config.workspace)).evaluation_report.read_text(encoding="utf-8"))
    print(report["summary"], report["verdict"])
    prompted = report["prompted"] or {"asked": 0}
    return [
        Measure("HR bot, 38 questions: the whole stage", seconds, "s"),
        Measure("HR bot: questions with rows in the prompt", prompted["asked"], ""),
        Measure("HR bot: questions about the world", report["general"]["asked"], ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
