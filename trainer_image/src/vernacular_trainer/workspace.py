"""Where the stages of one job keep their files on the shared volume.

inputs/                       copies of every file the user named, with digests; later stages read only these
downloads/                    files of servers, complete or on their way; inputs/ has them under a second name
model/                        base model, only when it was fetched from a hub or a bucket
data/{train,validation}.arrow tokenised rows: input_ids and labels large_list<int32> (-100: not trained), row
                              string; of preferences the chosen answer and behind it the rejected one
data/{train,validation}.npy   how likely the model found both before the training, written by it
data/clean.jsonl              the rows that are used, as text
data/held_out.json            which lines of it are not trained on
plan.json                     resolved settings (plan.ResolvedPlan)
checkpoints/attempt-<n>/      written by attempt n alone
result/                       the adapter or model that ships
reports/                      data.json, data.html, findings.csv.gz, rejected.xlsx, questions-to-write.csv,
                              row-digests.csv, training.json, environment.json, attempts.json,
                              evaluation.{json,html}, review.xlsx, collect-next.{jsonl,xlsx}
evaluation/                   the base's answers, for an evaluation that is repeated
spool/                        metrics on their way to MLflow
tensorboard/, wandb/          the same as an event file, and as files of Weights & Biases
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Paths below the job's own folder; nothing is created by asking for a path."""

    root: Path

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def questions(self) -> Path:
        return self.inputs / "questions.jsonl"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def glossary(self) -> Path:
        return self.inputs / "glossary.yaml"

    @property
    def chat_template(self) -> Path:
        """The job's own, in the place of the model's; there only when it has one."""
        return self.inputs / "chat_template.jinja"

    @property
    def train_rows(self) -> Path:
        return self.root / "data" / "train.arrow"

    @property
    def validation_rows(self) -> Path:
        return self.root / "data" / "validation.arrow"

    def reference(self, rows: Path) -> Path:
        """How likely the model found the answers of these rows before it was trained."""
        return rows.with_suffix(".npy")

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def attempt(self, number: int) -> Path:
        return self.checkpoints / f"attempt-{number}"

    @property
    def result(self) -> Path:
        return self.root / "result"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def data_report(self) -> Path:
        return self.reports / "data.json"

    @property
    def data_page(self) -> Path:
        return self.reports / "data.html"

    @property
    def clean_rows(self) -> Path:
        return self.root / "data" / "clean.jsonl"

    @property
    def held_out_lines(self) -> Path:
        return self.root / "data" / "held_out.json"

    @property
    def rejected_rows(self) -> Path:
        return self.reports / "rejected.xlsx"

    @property
    def findings(self) -> Path:
        return self.reports / "findings.csv.gz"

    @property
    def row_digests(self) -> Path:
        return self.reports / "row-digests.csv"

    @property
    def questions_to_write(self) -> Path:
        return self.reports / "questions-to-write.csv"

    @property
    def evaluation_report(self) -> Path:
        return self.reports / "evaluation.json"

    @property
    def evaluation_page(self) -> Path:
        return self.reports / "evaluation.html"

    @property
    def review_sheet(self) -> Path:
        return self.reports / "review.xlsx"

    @property
    def collect_next(self) -> Path:
        return self.reports / "collect-next.jsonl"

    @property
    def collect_next_sheet(self) -> Path:
        return self.reports / "collect-next.xlsx"

    @property
    def training_report(self) -> Path:
        return self.reports / "training.json"

    @property
    def environment_report(self) -> Path:
        return self.reports / "environment.json"

    @property
    def attempts_report(self) -> Path:
        return self.reports / "attempts.json"

    @property
    def events(self) -> Path:
        return self.root / "tensorboard"

    @property
    def weights_and_biases(self) -> Path:
        return self.root / "wandb"

    @property
    def base_answers(self) -> Path:
        return self.root / "evaluation" / "base.json"

    @property
    def spool(self) -> Path:
        return self.root / "spool"
