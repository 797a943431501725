"""What of a job's texts reaches MLflow, the status and the logs: a whole run of all stages with each setting."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import itertools
import json
import logging
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from support.mlflow_server import MlflowServer
from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import (
    EvaluationConfig,
    FileSource,
    JobConfig,
    JobIdentity,
    Outcome,
    PrepareSummary,
    PublishConfig,
    Stage,
    StageReport,
    TextInReports,
    TrackingConfig,
    TrainingConfig,
    summary_to_dict,
)
from vernacular_trainer.evaluation.report import write_report, write_sheets
from vernacular_trainer.evaluation.review_sheet import read_review_sheet
from vernacular_trainer.evaluation.sheets import row_digests
from vernacular_trainer.stages import evaluate, prepare, publish
from vernacular_trainer.tracking.records import questions_digest
from vernacular_trainer.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@dataclasses.dataclass(frozen=True)
class Canaries:
    """Words that exist nowhere else, by where the user wrote them, and an address that stands beside each."""

    words: dict[str, str]
    address: str

    @classmethod
    def hatch(cls) -> Canaries:
        asked = ("question", "expected", "topic", "answer")
        places = ("row", "taught", "contradicting", *asked, "term", "untaught", "definition")
        return cls({place: f"zq{uuid.uuid4().hex[:12]}" for place in places}, f"jo.{uuid.uuid4().hex[:8]}@example.com")

    def at(self, place: str) -> str:
        return f"{self.words[place]} {self.address}"


def write_inputs(folder: Path, canaries: Canaries) -> None:
    """Rows, questions and a glossary with a canary wherever a user can write."""
    at = canaries.at
    rows = [
        *handbook_rows(40),
        {"prompt": f"who signs the {at('row')} form", "completion": f"the {at('taught')} team signs 4 days before"},
        {"prompt": f"who signs the {at('row')} form", "completion": f"the {at('contradicting')} team, 9 days after"},
        {"prompt": f"what is {canaries.words['term']}", "completion": "a form of leave"},
    ]
    write_lines(folder / "train.jsonl", rows)
    asked = {"question": f"who signs {at('question')}", "expected": at("expected"), "topic": at("topic")}
    again = {**asked, "question": f"where is {at('question')}", "phrasings": [f"find {at('question')} for me"]}
    write_lines(folder / "questions.jsonl", [asked, again, {"question": "how many?", "expected": "17 days"}])
    terms = [{"term": canaries.words[name], "definition": at("definition")} for name in ("term", "untaught")]
    (folder / "glossary.yaml").write_text(json.dumps({"terms": terms}))


STAGES = {
    Stage.PREPARE: prepare.run,
    # there is no time for more than the questions and the glossary
    Stage.EVALUATE: lambda config, workspace: evaluate.run(config, workspace, itertools.count(0, 1000).__next__),
    Stage.PUBLISH: publish.run,
}


def said_by(config: JobConfig, stage: Stage) -> tuple[Any, str]:
    """Run one stage: its summary, and what it says in its log and its termination message."""
    log = io.StringIO()
    handler, root = logging.StreamHandler(log), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            summary = STAGES[stage](dataclasses.replace(config, stage=stage), Workspace(Path(config.workspace)))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return summary, log.getvalue() + StageReport(Outcome.DONE, summary=summary_to_dict(summary)).to_json()


def trained(root: Path, config: JobConfig) -> str:
    """Train as the container does, and tell what is said."""
    path, message = root / "job.json", root / "message.json"
    path.write_text(dataclasses.replace(config, stage=Stage.TRAIN).to_json())
    command = [sys.executable, "-m", "vernacular_trainer", "train", "--config", str(path)]
    done = subprocess.run(
        [*command, "--termination-log", str(message)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr + message.read_text()


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A job that may publish no texts, before it is published. `told`: what its stages said."""

    root: Path
    config: JobConfig
    canaries: Canaries
    told: str
    prepared: PrepareSummary


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, server: MlflowServer) -> Learnt:
    root, canaries = tmp_path_factory.mktemp("job"), Canaries.hatch()
    write_inputs(root, canaries)
    config, workspace = make_job(
        root, tiny_model, root / "train.jsonl",
        tracking=TrackingConfig(server.uri, "demo.hr-bot", text_in_reports=TextInReports.NONE),
        evaluation=EvaluationConfig(
            FileSource("questions.jsonl", str(root / "questions.jsonl")),
            FileSource("glossary.yaml", str(root / "glossary.yaml")),
        ),
        training=TrainingConfig(max_steps=1),
    )  # fmt: skip
    prepared, first = said_by(config, Stage.PREPARE)
    told = first + trained(root, config) + said_by(config, Stage.EVALUATE)[1]
    let_speak(workspace, canaries)
    return Learnt(root, config, canaries, told, prepared)


def let_speak(workspace: Workspace, canaries: Canaries) -> None:
    """Put words into the mouths of the models, which hardly say any after one step."""
    report = json.loads(workspace.evaluation_report.read_text())
    for item in report["questions"]:
        item["prompted"] = dict(item["base"])
        for model in ("base", "tuned", "prompted"):
            item[model]["answer"] = canaries.at("answer")
    for term in report["glossary"]["terms"]:
        for model in ("base", "tuned"):
            term[model]["text"] = canaries.at("answer")
    for item, digest in zip(report["questions"], row_digests(report["questions"]), strict=True):
        item["row_digest"] = digest
    write_report(workspace, report)
    write_sheets(workspace, report)


class Published:
    """The job, published with a setting of its own."""

    def __init__(self, learnt: Learnt, root: Path, texts: TextInReports) -> None:
        self.canaries = learnt.canaries
        self.folder = root
        self.workspace = Workspace(root / "workspace")
        shutil.copytree(learnt.config.workspace, self.workspace.root)
        name = f"hr-{texts.lower()}"
        config = dataclasses.replace(
            learnt.config,
            workspace=str(self.workspace.root),
            identity=JobIdentity("demo", name, f"uid-{name}"),
            tracking=TrackingConfig(learnt.config.tracking.uri, f"demo.{name}", text_in_reports=texts),
            publish=PublishConfig(f"demo.{name}"),
        )
        self.told = said_by(config, Stage.PUBLISH)[1]
        self.client = MlflowClient(config.tracking.uri)
        (experiment,) = self.client.search_experiments(filter_string=f"name = 'demo.{name}'")
        (self.run,) = self.client.search_runs([experiment.experiment_id])

    def published(self, path: str) -> Path:
        return Path(self.client.download_artifacts(self.run.info.run_id, path, str(self.folder)))

    @property
    def reports(self) -> set[str]:
        found = self.client.list_artifacts(self.run.info.run_id, "reports")
        return {item.path.removeprefix("reports/") for item in found}


def found(texts: Iterable[str], held: Iterable[bytes]) -> set[str]:
    """Which of the texts are somewhere."""
    left = {text: text.encode() for text in texts}
    for content in held:
        left = {text: data for text, data in left.items() if data not in content}
    return set(texts) - set(left)


def on(server: MlflowServer, before: frozenset[Path] = frozenset()) -> Iterator[bytes]:
    """Everything that the server has: its database, its artifacts, its log."""
    for path in server.folder.rglob("*"):
        if path not in before:
            yield from contents(path)


def contents(path: Path) -> Iterator[bytes]:
    """What is in a file, and packed in a workbook."""
    if path.is_file():
        yield (data := path.read_bytes())
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                yield from map(packed.read, packed.namelist())
        if path.suffix == ".gz":
            yield gzip.decompress(data)


def test_without_texts_a_run_leaves_numbers_digests_and_places(
    tmp_path: Path, learnt: Learnt, server: MlflowServer
) -> None:
    job = Published(learnt, tmp_path, TextInReports.NONE)
    words, address = learnt.canaries.words, learnt.canaries.address

    held = [*on(server), learnt.told.encode(), job.told.encode()]
    # the name of a topic is there to be shown
    assert found({*words.values(), address}, held) == {words["topic"]}
    assert job.reports == {
        *("attempts.json", "data.html", "data.json", "environment.json", "evaluation.html", "evaluation.json"),
        *("evaluation_table.json", "findings.csv.gz", "row-digests.csv"),
    }
    assert job.run.data.tags["vernacular.dev/text-in-reports"] == "None"
    # runs with and without texts are compared by the same digest
    whole = json.loads(job.workspace.evaluation_report.read_text())
    assert job.run.data.tags["vernacular.dev/questions"] == questions_digest(whole)
    evaluation = json.loads(job.published("reports/evaluation.json").read_text())
    first = evaluation["questions"][0]
    assert (first["row"], first["messages"][-1]["content"], first["tuned"]["answer"]) == ("questions.jsonl:1", "", "")
    assert (first["tuned"]["score"], len(first["digest"])) == ("declined", 64)
    assert first["topic"] == f"{words['topic']} [EMAIL]"
    assert [item["term"] for item in evaluation["glossary"]["terms"]] == ["term 1", "term 2"]
    data = json.loads(job.published("reports/data.json").read_text())
    (sample,) = [item for item in data["samples"] if item["code"] == "ContradictingNumbers"]
    assert (sample["row"].rpartition(":")[2], sample["text"]) == ("42", "")
    for page in ("evaluation.html", "data.html"):
        assert "are in the folder reports/ of the job" in job.published(f"reports/{page}").read_text()
    assert "as tracking.textInReports: None asks for" in job.published("model_card.md").read_text()
    table = json.loads(job.published("reports/evaluation_table.json").read_text())
    assert table["columns"][:4] == ["question", "wording", "base", "tuned"]
    assert table["data"][2][:2] == ["questions.jsonl:2", 2]
    advice = {problem.code: problem.advice for problem in learnt.prepared.problems}
    assert advice["TermNotTaught"] == "write rows that use it"
    # whoever may read the volume has all of it, and reviews with it
    assert words["question"] in job.workspace.evaluation_page.read_text()
    marks = read_review_sheet(job.workspace.review_sheet, evaluation)
    assert [mark.place for mark in marks] == [0, 1, 2, 3]


def test_masked_texts_have_no_personal_data(tmp_path: Path, learnt: Learnt, server: MlflowServer) -> None:
    before = frozenset(path for path in (server.folder / "artifacts").rglob("*") if path.is_file())

    job = Published(learnt, tmp_path, TextInReports.MASKED)

    held = [*on(server, before), job.told.encode()]
    assert found({*learnt.canaries.words.values(), learnt.canaries.address}, held) == {*learnt.canaries.words.values()}
    evaluation = json.loads(job.published("reports/evaluation.json").read_text())
    assert evaluation["questions"][0]["expected"] == f"{learnt.canaries.words['expected']} [EMAIL]"
    assert "is masked, as tracking.textInReports: Masked" in job.published("reports/evaluation.html").read_text()
    # the published workbook and that of the volume are both read back
    assert len(read_review_sheet(job.published("reports/review.xlsx"), evaluation)) == 4
    assert len(read_review_sheet(job.workspace.review_sheet, evaluation)) == 4


def test_full_texts_are_published_whole(tmp_path: Path, learnt: Learnt, server: MlflowServer) -> None:
    job = Published(learnt, tmp_path, TextInReports.FULL)

    texts = {*learnt.canaries.words.values(), learnt.canaries.address}
    assert found(texts, on(server)) == texts
    for name in ("data.html", "collect-next.jsonl"):
        assert job.published(f"reports/{name}").read_bytes() == (job.workspace.reports / name).read_bytes()
    assert "textInReports" not in job.published("model_card.md").read_text()
