"""Which texts of reports may be published: what nobody has thought of is held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.evaluations import BAD, GOOD, report_of
from vernacular_trainer.contract import (
    AnswerCounts,
    EvaluateSummary,
    Gain,
    PrepareSummary,
    Problem,
    TextInReports,
)
from vernacular_trainer.disclosure import (
    released_data,
    released_evaluation,
    released_findings,
    released_verdict,
)
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.lineage import compare
from vernacular_trainer.evaluation.report import page
from vernacular_trainer.evaluation.review import Mark, review

FULL, MASKED, NONE = TextInReports
ADDRESS = "jo@example.com"


def test_a_text_under_a_key_that_no_list_names_is_held_back() -> None:
    report = {"questions": [{"digest": "ab", "afterthought": f"ask {ADDRESS}", "more": [{"said": ADDRESS}], "n": 3}]}

    held_back = {"digest": "ab", "afterthought": "", "more": [{"said": ""}], "n": 3}
    assert released_evaluation(report, NONE)["questions"] == [held_back]
    masked = {"digest": "ab", "afterthought": "ask [EMAIL]", "more": [{"said": "[EMAIL]"}], "n": 3}
    assert released_evaluation(report, MASKED)["questions"] == [masked]
    assert released_evaluation(report, FULL)["questions"] == report["questions"]


def test_groups_are_called_by_what_may_be_shown_of_them() -> None:
    groups = [("topic", f"leave {ADDRESS}"), ("term", "bench"), ("term", "roll-off"), ("source", "rows.jsonl")]
    report = {
        "glossary": {"terms": [{"term": "roll-off", "definition": "an end"}, {"term": "bench", "definition": "time"}]},
        "failures": [{"by": by, "name": name, "asked": 3, "failed": 1} for by, name in groups],
        "topics": [{"name": f"leave {ADDRESS}", "asked": 3}],
    }

    shown = released_evaluation(report, NONE)

    assert [item["name"] for item in shown["failures"]] == ["leave [EMAIL]", "term 2", "term 1", "rows.jsonl"]
    assert shown["topics"][0]["name"] == "leave [EMAIL]"
    assert shown["glossary"]["terms"][1] == {"term": "term 2", "definition": ""}
    names = [item["name"] for item in released_evaluation(report, MASKED)["failures"]]
    assert names == ["leave [EMAIL]", "bench", "roll-off", "rows.jsonl"]


@pytest.mark.parametrize(
    ("texts", "advice"),
    [
        (FULL, f"write rows that use: bench, {ADDRESS}"),
        (MASKED, "write rows that use: bench, [EMAIL]"),
        (NONE, "write rows that use it"),
    ],
)
def test_the_status_names_terms_as_reports_do(texts: TextInReports, advice: str) -> None:
    problems = (
        Problem("TermNotTaught", 2, advice=f"write rows that use: bench, {ADDRESS}"),
        Problem("FewQuestions", 1, advice="write 3 more"),
    )
    counts: dict[str, Any] = dict.fromkeys(("rows", "dropped", "duplicates", "train", "validation", "tokens"), 1)
    summary = PrepareSummary(**counts, digest="d", total_steps=1, problems=problems)

    told = [problem.advice for problem in released_findings(summary, texts).problems]

    assert told == [advice, "write 3 more"]
    data = released_data({"problems": [{"code": item.code, "advice": item.advice} for item in problems]}, texts)
    assert [item["advice"] for item in data["problems"]] == told


def test_the_status_names_topics_without_personal_data() -> None:
    counts = AnswerCounts(1, 0, 0)
    summary = EvaluateSummary("", "Hold", counts, counts, Gain(0, 0, 0), weak_topics=(f"leave of {ADDRESS}",))

    told = [released_verdict(summary, texts).weak_topics for texts in TextInReports]

    assert told == [(f"leave of {ADDRESS}",), ("leave of [EMAIL]",), ("leave of [EMAIL]",)]


def test_a_report_without_texts_is_judged_as_the_whole_one(tmp_path: Path) -> None:
    whole = report_of(tmp_path, [(BAD, "Three months.")] * 20 + [(BAD, BAD)])
    marks = [Mark(place, f"row {place + 2}", tuned=True, base=False) for place in range(20)]

    found = [review(released_evaluation(whole, texts), marks) for texts in TextInReports]

    assert found[0] == found[1] == found[2]
    assert found[0].summary.verdict == "Promote"


def test_answers_that_differ_in_what_is_masked_alone_may_be_judged_apart(tmp_path: Path) -> None:
    whole = report_of(tmp_path, [(f"Write to {ADDRESS}.", "Write to al@example.com.")] * 3 + [(BAD, BAD)])
    masked = released_evaluation(whole, MASKED)
    assert masked["questions"][0]["base"]["answer"] == masked["questions"][0]["tuned"]["answer"]

    assert review(masked, [Mark(0, "row 2", tuned=True, base=False)]).summary.tuned.correct == 1
    with pytest.raises(StageError, match="judged right and wrong"):
        review(masked, [Mark(3, "row 5", tuned=True, base=False)])


def test_failures_of_a_version_that_was_published_without_texts_are_known_again(tmp_path: Path) -> None:
    before = released_evaluation(report_of(tmp_path / "one", [(BAD, BAD), (BAD, GOOD)]), NONE)
    now = report_of(tmp_path / "two", [(BAD, GOOD), (BAD, BAD)])

    lineage = compare("1", before, now)

    assert lineage["fixed"] == [{"row": "q:0", "phrasing": 0, "asked": "0?"}]
    shown = released_evaluation({**now, "lineage": lineage}, NONE)
    assert shown["lineage"]["newly_failing"] == [{"row": "q:1", "phrasing": 1, "asked": ""}]
    assert "q:1, wording 2" in page(shown)
