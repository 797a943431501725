"""Shares of sources: which rows are used, that no row is lost, and that appended rows change little."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from support.stage_jobs import make_job, write_lines
from vernacular_trainer.contract import FileSource
from vernacular_trainer.data.mixing import Mixed, mix
from vernacular_trainer.data.report import page
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.stages import prepare


def rows_of(*counts: int) -> tuple[list[Conversation], list[int]]:
    """Rows of sources with so many rows each, and of each row its source."""
    rows, origins = [], []
    for source, count in enumerate(counts):
        for number in range(count):
            text = f"{source} {number}"
            messages = (Message("user", text), Message("assistant", text))
            rows.append(Conversation(f"{source}.jsonl:{number + 1}", messages))
            origins.append(source)
    return rows, origins


def mixed(counts: tuple[int, ...], shares: tuple[int | None, ...], seed: int = 1) -> Mixed:
    rows, origins = rows_of(*counts)
    sources = [FileSource(f"{number}.jsonl", share_percent=share) for number, share in enumerate(shares)]
    return mix(rows, origins, counts, sources, seed)


def kept_of(counts: tuple[int, ...], shares: tuple[int | None, ...], source: int, seed: int = 1) -> set[str]:
    rows, origins = rows_of(*counts)
    return {rows[index].row for index in mixed(counts, shares, seed).kept if origins[index] == source}


@pytest.mark.parametrize(
    ("counts", "shares", "used"),
    [
        ((90, 1000), (None, 10), [90, 10]),
        ((90, 1000, 10), (None, 10, None), [90, 11, 10]),
        ((60, 500, 500), (None, 10, 30), [60, 10, 30]),
        ((100, 5), (None, 50), [100, 5]),
        ((7, 100), (None, 1), [7, 1]),
        ((0, 100), (None, 50), [0, 0]),
        ((10, 20), (None, None), [10, 20]),
    ],
)
def test_a_share_is_a_percentage_of_all_rows_that_are_used(
    counts: tuple[int, ...], shares: tuple[int | None, ...], used: list[int]
) -> None:
    found = mixed(counts, shares)

    assert [source.used for source in found.sources] == used
    assert len(found.kept) == sum(used)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([None, 1, 10, 30])), min_size=1, max_size=3),
    st.integers(0, 2**31 - 1),
)
def test_every_row_is_kept_or_left_out_and_counted_once(sources: list[tuple[int, int | None]], seed: int) -> None:
    counts, shares = zip(*[*sources, (20, None)], strict=True)
    found = mixed(counts, shares, seed)

    assert sorted((*found.kept, *found.left_out)) == list(range(sum(counts)))
    for source, count in zip(found.sources, counts, strict=True):
        assert source.rows == count == source.used + source.left_out + source.bad
        assert source.used == min(source.wanted, count)


def test_the_choice_follows_the_seed_and_nothing_else() -> None:
    one = kept_of((90, 500), (None, 10), 1)

    assert one == kept_of((90, 500), (None, 10), 1)
    assert one != kept_of((90, 500), (None, 10), 1, seed=2)
    rows, origins = rows_of(90, 500)
    order = [*range(589, -1, -1)]
    sources = [FileSource("0.jsonl"), FileSource("1.jsonl", share_percent=10)]
    turned = mix([rows[i] for i in order], [origins[i] for i in order], (90, 500), sources, 1)
    assert {rows[order[i]].row for i in turned.kept if origins[order[i]] == 1} == one


def test_appended_rows_change_little() -> None:
    before = kept_of((90, 500), (None, 10), 1)

    assert before <= kept_of((180, 500), (None, 10), 1)
    after = kept_of((90, 550), (None, 10), 1)
    assert len(before) == len(after) == 10
    assert {row for row in after - before if int(row.partition(":")[2]) <= 500} == set()
    assert len(before & after) >= 7


def test_prepare_tells_what_became_of_the_rows_of_each_source(tmp_path: Path, tiny_model: Path) -> None:
    own = [{"prompt": f"what is {i}", "completion": f"it is number {i}"} for i in range(36)]
    general = [{"prompt": f"tell me about {i}", "completion": f"there is much about {i}"} for i in range(30)]
    sources = (
        FileSource("pvc://hr/own.jsonl", str(write_lines(tmp_path / "own.jsonl", own))),
        FileSource("hub", str(write_lines(tmp_path / "hub.jsonl", [*general, general[0]])), share_percent=10),
        FileSource("few", str(write_lines(tmp_path / "few.jsonl", own[:1])), share_percent=30),
    )
    config, workspace = make_job(tmp_path, tiny_model, sources)

    summary = prepare.run(config, workspace)

    report = json.loads(workspace.data_report.read_text())
    assert [(item["used"], item["left_out"]) for item in report["sources"]] == [(36, 0), (6, 25), (1, 0)]
    assert summary.rows == 68 == summary.train + summary.validation + summary.dropped
    problems = {problem.code: problem for problem in summary.problems}
    assert problems["LeftOutByShare"].count == 25 == summary.dropped
    assert problems["ShareNotReached"].first_rows == ("few",)
    sheet = CalamineWorkbook.from_path(workspace.rejected_rows).get_sheet_by_index(0).to_python()
    assert sum(row[1] == "LeftOutByShare" for row in sheet) == 25
    assert ("share of hub", "6 of 31 rows") in [(value.name, value.value) for value in summary.plan]
    assert "<td>hub</td>" in page(report)


def test_long_names_of_sources_leave_the_plan_its_room(tmp_path: Path, tiny_model: Path) -> None:
    sources = [FileSource("own", str(write_lines(tmp_path / "own.jsonl", questions("own", 40))))]
    for number in range(12):
        name = f"s3://{'n' * 190}/{number:02}.jsonl"
        rows = write_lines(tmp_path / f"{number}.jsonl", questions(name[-8:], 3))
        sources.append(FileSource(name, str(rows), share_percent=5))
    config, workspace = make_job(tmp_path, tiny_model, tuple(sources))

    summary = prepare.run(config, workspace)

    full = json.loads(workspace.data_report.read_text())
    chosen = [value for value in full["plan"] if not value["name"].startswith("share of")]
    assert [value.name for value in summary.plan] == [value["name"] for value in chosen]
    assert [problem.code for problem in summary.problems] == [problem["code"] for problem in full["problems"]]
    assert len([value for value in full["plan"] if value["name"].startswith("share of ...nnn")]) == 12


def questions(topic: str, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"what is {topic} {i}", "completion": f"{topic} is number {i}"} for i in range(count)]


def test_without_a_share_all_rows_are_used_and_no_share_is_told(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"prompt": f"what is {i}", "completion": f"it is number {i}"} for i in range(20)]
    config, workspace = make_job(tmp_path, tiny_model, write_lines(tmp_path / "rows.jsonl", rows))

    summary = prepare.run(config, workspace)

    assert not [value for value in summary.plan if value.name.startswith("share of")]
    assert summary.dropped == 0
