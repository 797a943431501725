"""What the owner of the data gets: the page, the rows that are used, the rows that are not."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import DatasetConfig, FileSource, TrainingConfig
from vernacular_trainer.data.exports import write_clean_rows, write_rejected_rows
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog, Rejected
from vernacular_trainer.data.report import page, sample_texts
from vernacular_trainer.data.review import SAMPLES, review
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare
from vernacular_trainer.workspace import Workspace

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Checks that tags are closed in order and that nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs}.isdisjoint({"src", "href", "onload"})
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


def prepared(root: Path, model: Path, rows: list[Any], **changes: Any) -> Workspace:
    path = write_lines(root / "in" / "train.jsonl", rows)
    dataset = DatasetConfig((FileSource("train.jsonl", str(path)),), max_bad_rows_percent=20)
    config, workspace = make_job(root, model, path, dataset=dataset, **changes)
    prepare.run(config, workspace)
    return workspace


def test_report_page_and_files_tell_the_same(tmp_path: Path, tiny_model: Path) -> None:
    contradiction = {"prompt": "what is the leave of number 3", "completion": "It is 77 days, ask ann@example.com <b>"}
    long_row = {"prompt": "how long", "completion": "days " * 120}
    rows = [*handbook_rows(60), contradiction, "{", long_row]

    workspace = prepared(tmp_path, tiny_model, rows, training=TrainingConfig(max_sequence_length=96))

    report = json.loads(workspace.data_report.read_text())
    assert report["truncation"]["rows"] == report["truncation"]["ends_of_turn_lost"] == 1
    assert report["truncation"]["trained_tokens_lost"] > 0
    assert report["personal_data"] == {"EMAIL": 1}
    assert report["held_out"]["questions"] == report["validation"] - 1  # two of the rows ask the same
    (sample,) = report["samples"]
    assert (sample["code"], sample["row"]) == ("ContradictingNumbers", "train.jsonl:61")
    assert "77 days, ask [EMAIL]" in sample["text"]
    html = workspace.data_page.read_text()
    assert "svg" in outline(html).seen
    assert "63 rows were read" in html
    assert "[EMAIL] &lt;b&gt;" in html
    assert "ann@example.com" not in html
    clean = [json.loads(line) for line in workspace.clean_rows.read_text().splitlines()]
    assert len(clean) == report["train"] + report["validation"] == report["rows"] - report["dropped"]
    assert rejected(workspace.rejected_rows)[1][:2] == ["train.jsonl:62", "BrokenJson"]


def rejected(path: Path) -> list[list[Any]]:
    lines: list[list[Any]] = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    return lines


def test_data_that_fails_leaves_findings_and_rejected_rows(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(StageError):
        prepared(tmp_path, tiny_model, [*handbook_rows(9), *["{secret"] * 30])

    workspace = Workspace(tmp_path / "workspace")
    html = workspace.data_page.read_text()
    outline(html)
    assert "cannot be trained on" in html
    assert "BrokenJson" in html
    assert "secret" not in html
    lines = rejected(workspace.rejected_rows)
    assert lines[0] == ["row", "code", "reason", "advice"]
    assert [line[0] for line in lines[1:]] == [f"train.jsonl:{number}" for number in range(10, 40)]


def test_without_rejected_rows_there_is_no_file_of_them(tmp_path: Path) -> None:
    write_rejected_rows(tmp_path / "rejected.xlsx", [Rejected("a:1", "BrokenJson")])
    first = (tmp_path / "rejected.xlsx").read_bytes()
    write_rejected_rows(tmp_path / "rejected.xlsx", [Rejected("a:1", "BrokenJson")])
    assert (tmp_path / "rejected.xlsx").read_bytes() == first

    write_rejected_rows(tmp_path / "rejected.xlsx", [])

    assert not (tmp_path / "rejected.xlsx").exists()


def test_clean_rows_read_back_are_the_same_rows(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": {"a": [1]}}}
    messages = (
        Message("system", "s"),
        Message("user", "ü\u2028"),
        Message("assistant", "", 0, (call,)),
        Message("tool", "1", tool_call_id="7", name="f"),
        Message("assistant", "b"),
    )
    rows = [
        Conversation("a:1", messages, ({"name": "f"},)),
        Conversation("a:2", (Message("assistant", "text"),), plain=True),
    ]

    write_clean_rows(tmp_path / "clean.jsonl", rows)

    for row, line in zip(rows, (tmp_path / "clean.jsonl").read_bytes().split(b"\n"), strict=False):
        parsed = parse_row(json.loads(line))
        assert (parsed.messages, parsed.tools, parsed.plain) == (row.messages, row.tools, row.plain)


def test_samples_are_few_and_short() -> None:
    answers = [f"{number} days. {'long ' * 1000}" for number in range(99)]
    rows = [Conversation("a:1", (Message("user", "why"), Message("assistant", answer))) for answer in answers]

    texts = sample_texts(review(rows, DatasetConfig(()), (), ProblemLog()).samples)

    assert len(texts) == SAMPLES
    assert {text["code"] for text in texts} == {"ContradictingNumbers"}
    assert max(len(text["text"]) for text in texts) <= 400


def test_a_page_of_nothing_but_problems_is_complete() -> None:
    problems = ProblemLog()
    problems.add("Mojibake", "<script>.jsonl:1")
    (problem,) = problems.problems()

    html = page({"problems": [vars(problem)]})

    outline(html)
    assert "&lt;script&gt;.jsonl:1" in html
