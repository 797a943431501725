"""Topics of rows: read from a column, held out each, counted, and asked under their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import make_job, write_lines
from vernacular.api import spec
from vernacular_trainer.data.checks.personal_data import redacted
from vernacular_trainer.data.formats import COLUMNS, parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.row_store import pack
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.split import Split, split_rows
from vernacular_trainer.data.topics import note_topics, topics_of
from vernacular_trainer.stages import prepare


def rows_of(**counts: int) -> list[Conversation]:
    """Rows of topics, so many of each; every answer is given to two questions."""
    return [
        Conversation(
            f"{topic}:{n}",
            (
                Message("user", f"what of {topic} {n // 2} in words {n}"),
                Message("assistant", f"it is {topic} {n // 2}"),
            ),
            topic=topic.strip("_"),
        )
        for topic, count in counts.items()
        for n in range(count)
    ]


def held_out(rows: list[Conversation], teaches: str, seed: int = 42, percent: int = 10) -> list[str]:
    return [rows[index].topic for index in split_rows(rows, (), percent, teaches, seed).validation]


@pytest.mark.parametrize(
    ("topic", "expected"), [("  Annual\n leave ", "Annual leave"), (7, "7"), (None, ""), (["a"], ""), (True, "")]
)
def test_a_topic_is_a_label_and_what_is_none_is_a_column_as_any_other(topic: Any, expected: str) -> None:
    row = parse_row({"prompt": "q", "completion": "a", "topic": topic})

    assert row.topic == expected
    assert row.unused == (frozenset() if expected else {"topic"})


def test_columns_of_the_resource_are_those_of_the_formats() -> None:
    assert frozenset(spec._COLUMNS) == COLUMNS


def test_topics_are_kept_on_disk_and_masked_with_the_row() -> None:
    row = Conversation("a:1", (Message("user", "q"), Message("assistant", "a")), topic="ann@example.com")

    assert list(pack([row])) == [row]
    assert redacted(row).topic == "[EMAIL]"


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_each_topic_with_rows_enough_has_one_that_is_held_out(teaches: str) -> None:
    rows = rows_of(leave=200, travel=20, pay=20, badge=2)

    for seed in range(30):
        held = held_out(rows, teaches, seed)
        assert {"leave", "travel", "pay"} <= set(held)
        assert 10 <= len(held) <= 40

    assert not held_out(rows, teaches, percent=0)


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_rows_of_large_topics_stay_held_out_when_others_are_appended(teaches: str) -> None:
    rows = rows_of(leave=300, travel=300)
    more = [*rows, *rows_of(pay=300), *rows_of(leave=400)[300:]]

    before = {rows[index].row for index in split_rows(rows, (), 10, teaches, 42).validation}
    after = {more[index].row for index in split_rows(more, (), 10, teaches, 42).validation}

    assert before <= after


def test_rows_without_topics_are_split_as_if_there_were_none() -> None:
    rows = rows_of(_=200)
    assert {row.topic for row in rows} == {""}

    assert 5 <= len(held_out(rows, "Skill")) <= 35


@pytest.mark.parametrize(
    ("counts", "codes"),
    [
        ({"leave": 20, "travel": 25}, {}),
        ({"leave": 40, "travel": 2, "pay": 30}, {"TopicRare": "travel:0"}),
        ({"leave": 300, "travel": 300, "pay": 19}, {"TopicRare": "pay:0"}),
        ({"leave": 90, "travel": 10}, {"TopicDominant": "leave:0"}),
        ({"leave": 10, "travel": 1}, {}),
        ({"leave": 60}, {}),
        ({f"t{n}": 1 for n in range(60)}, {}),
    ],
)
def test_topics_with_hardly_any_or_most_rows_are_told(counts: dict[str, int], codes: dict[str, str]) -> None:
    rows, problems = rows_of(**counts), ProblemLog()

    note_topics(topics_of(rows), rows, Split(tuple(range(len(rows))), ()), problems)

    assert {problem.code: problem.first_rows[0] for problem in problems.problems()} == codes


def test_held_out_rows_are_asked_under_their_topics_and_text_of_one_row_is_no_topic(
    tmp_path: Path, tiny_model: Path
) -> None:
    labels = ["leave"] * 60 + ["travel"] * 30 + [f"what ann said on day {n}" for n in range(30)]
    rows = [
        {
            "prompt": f"{'how long' if n % 2 else 'what'} is the leave of number {n // 2}",
            "completion": f"The leave is {n // 2} days.",
            "Thema": label,
        }
        for n, label in enumerate(labels)
    ]
    config, workspace = make_job(tmp_path, tiny_model, write_lines(tmp_path / "train.jsonl", rows))
    config.dataset.columns["Thema"] = "topic"

    summary = prepare.run(config, workspace)

    asked = [json.loads(line) for line in workspace.questions.read_text().splitlines()]
    assert {item.get("topic", "") for item in asked} - {""} == {"leave", "travel"}
    report = json.loads(workspace.data_report.read_text())
    first, second, *_ = report["topics"]
    assert (first["topic"], first["rows"], second["topic"], second["rows"]) == ("leave", 60, "travel", 30)
    assert first["held_out"] >= 1
    assert sum(item["held_out"] for item in report["topics"]) == summary.validation
    assert "<td>travel</td>" in workspace.data_page.read_text()
    clean = [json.loads(line) for line in workspace.clean_rows.read_text().splitlines()]
    assert [row["topic"] for row in clean] == labels
    assert report["unused_columns"] == []
