"""A person's judgement of the answers: the workbook read back, and the verdict anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook

from support.evaluations import BAD, GOOD, NONE, report_of
from vernacular_trainer.contract import GateConfig
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.review import Mark, evidence_of, review
from vernacular_trainer.evaluation.review_sheet import read_review_sheet
from vernacular_trainer.evaluation.sheets import write_review_sheet
from vernacular_trainer.evaluation.verdict import General, judge

TUNED, BASE, DIGEST = 4, 7, 8


def test_the_report_holds_what_the_verdict_was_made_from(tmp_path: Path) -> None:
    general = General((True, True, True, False, False), (False, True, True, True, False))
    answers = [(BAD, GOOD)] * 12 + [(GOOD, BAD), (NONE, NONE), (BAD, BAD)]

    report = report_of(
        tmp_path, answers, unanswerable=2, prompted=GOOD, general=general, gate=GateConfig(80, max_wrong_percent=3)
    )

    evidence = evidence_of(report)
    found = judge(evidence, GateConfig(80, max_wrong_percent=3), 7)
    assert found.summary == report["summary"]
    assert found.verdict == report["verdict"] == "Hold"
    assert evidence.general
    assert (evidence.general.proven, evidence.general.lost_percent) == (general.proven, general.lost_percent)
    assert (report["general"]["forgotten"], report["general"]["tuned"]) == (1, 3)


def test_a_person_decides_where_the_rules_are_wrong(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(BAD, "Three months.")] * 20)
    assert report["verdict"] == "Inconclusive"

    found = review(report, [Mark(place, f"row {place + 2}", tuned=True, base=False) for place in range(20)])

    assert (found.summary.verdict, found.summary.tuned.correct, found.summary.base.correct) == ("Promote", 20, 0)
    assert found.counted == "20 of 20 questions reviewed, 20 answers scored otherwise."
    assert {(change.model, change.before, change.after) for change in found.changes} == {("tuned", "wrong", "correct")}


def test_a_person_takes_a_promotion_back(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(GOOD, "It is 90 days indeed.")] * 20 + [(BAD, GOOD)] * 20)
    assert report["verdict"] == "Promote"

    marks = [Mark(place, "", base=True) for place in range(20)]
    found = review(report, [*marks, *(Mark(place, "", tuned=False) for place in range(20, 40))])

    assert (found.summary.verdict, found.summary.tuned.wrong) == ("Inconclusive", 20)
    found = review(report, [Mark(place, "", tuned=False, base=place < 30) for place in range(40)])
    assert found.summary.verdict == "Regressed"


def test_the_gate_is_judged_anew(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(BAD, GOOD)] * 20, gate=GateConfig(min_correct_percent=95))
    assert report["verdict"] == "Promote"

    found = review(report, [Mark(place, "", tuned=False) for place in range(2)])

    assert found.summary.gate_missed == ("minCorrectPercent 95: 18 of 20 right",)
    assert found.summary.verdict == "Hold"


def test_a_no_to_what_declines_stays_a_decline_and_a_made_up_answer_is_invented(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(BAD, NONE), (BAD, GOOD), (BAD, "I don't know that.")], unanswerable=1)

    found = review(report, [Mark(place, "", tuned=False) for place in range(3)])

    assert (found.summary.tuned.declined, found.summary.tuned.wrong, found.summary.tuned.invented) == (1, 2, 1)


@pytest.mark.parametrize(
    ("answers", "mark"),
    [
        ((BAD, "Three months."), Mark(0, "row 2", tuned=True)),
        ((GOOD, "It is 90 days indeed."), Mark(0, "row 2", base=False)),
    ],
    ids=["one model is forgiven", "one model is blamed"],
)
def test_both_answers_are_judged_where_a_mark_for_one_would_look_like_a_gain(
    tmp_path: Path, answers: tuple[str, str], mark: Mark
) -> None:
    with pytest.raises(StageError, match=r"only one of them is judged \(row 2\)") as caught:
        review(report_of(tmp_path, [answers] * 3), [mark])

    assert "base OK?" in caught.value.advice


def test_the_same_words_are_judged_alike(tmp_path: Path) -> None:
    report = report_of(tmp_path, [("Three  months.", "three months.")] * 3)

    found = review(report, [Mark(0, "row 2", tuned=True), Mark(1, "row 3", base=True)])

    assert (found.summary.base.correct, found.summary.tuned.correct) == (2, 2)


def test_the_same_words_are_not_right_and_wrong(tmp_path: Path) -> None:
    report = report_of(tmp_path, [("Three  months.", "three months.")] * 3)

    with pytest.raises(StageError, match=r"judged right and wrong \(row 2\)") as caught:
        review(report, [Mark(0, "row 2", tuned=True, base=False)])

    assert "the same into both columns" in caught.value.advice


def test_rows_in_the_prompt_are_compared_where_the_rules_hold(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(BAD, "Three months.")] * 20 + [(BAD, GOOD)] * 4, prompted=GOOD)
    assert report["verdict"] == "PromptInstead"

    found = review(report, [Mark(place, "", tuned=True, base=False) for place in range(20)])

    assert found.summary.verdict == "Promote"
    assert found.summary.prompted
    assert found.summary.prompted.asked == 4
    all_of_them = review(report, [Mark(place, "", tuned=True, base=False) for place in range(24)])
    assert all_of_them.summary.prompted
    assert all_of_them.summary.prompted.asked == 4


def test_nothing_marked_and_a_report_of_another_release(tmp_path: Path) -> None:
    report = report_of(tmp_path, [(BAD, GOOD)] * 3)

    with pytest.raises(StageError, match="no answer is marked"):
        review(report, [Mark(0, "row 2")])
    with pytest.raises(StageError, match="this release judges the report otherwise"):
        review({**report, "summary": "Tuned 9 of 9 right."}, [Mark(0, "row 2", tuned=True)])


class Book:
    """review.xlsx of a report, filled in and saved by a person."""

    def __init__(self, folder: Path, answers: Sequence[tuple[str, str]]) -> None:
        self.report = report_of(folder, answers)
        self.path = folder / "filled.xlsx"
        write_review_sheet(self.path, self.report["questions"])
        self.rows: list[list[Any]] = CalamineWorkbook.from_path(str(self.path)).get_sheet_by_index(0).to_python()

    def read(self, sheet: str = "Review") -> list[Mark]:
        with xlsxwriter.Workbook(str(self.path)) as book:
            page = book.add_worksheet(sheet)
            for number, row in enumerate(self.rows):
                page.write_row(number, 0, row)
        return read_review_sheet(self.path, self.report)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path, [(BAD, GOOD), (NONE, "line one\nline two"), (BAD, BAD)])


def test_marks_are_read_wherever_their_rows_have_gone(book: Book) -> None:
    assert book.rows[0] == [
        *("question", "expected", "tuned answer", "scored", "OK?", "base answer", "base scored", "base OK?", "digest")
    ]
    book.rows[1][TUNED], book.rows[2][BASE] = "yes", " NO "
    book.rows[2][2] = "line one\r\nline two "
    header, first, second, third = book.rows
    book.rows = [header, third, ["", " "], second, first]

    marks = book.read()

    assert marks == [Mark(2, "row 2"), Mark(1, "row 4", base=False), Mark(0, "row 5", tuned=True)]


def break_answer(book: Book) -> None:
    book.rows[1][2], book.rows[3][2] = book.rows[3][2], book.rows[1][2]


def repeat(book: Book) -> None:
    book.rows.append(book.rows[1])


def delete(book: Book) -> None:
    del book.rows[2]


def rename(book: Book) -> None:
    book.rows[0][TUNED] = "In Ordnung?"


def say(word: Any) -> Any:
    def change(book: Book) -> None:
        book.rows[3][BASE] = word

    return change


def take_another(book: Book) -> None:
    for row in book.rows[1:]:
        row[DIGEST] = "0" * 64


def spoil_one(book: Book) -> None:
    book.rows[2][DIGEST] = "see above"


@pytest.mark.parametrize(
    ("change", "says", "advice"),
    [
        (break_answer, "row 2: its answers and its digest do not belong together", "sort whole rows only"),
        (repeat, "row 5: this row is there twice", "delete one of the two"),
        (delete, "lacks 1 of 3 rows", "leave OK? empty where you say nothing"),
        (rename, "needs the column 'OK?' once in its first row", "give the column its name back"),
        (say("ja"), "cell H4: 'ja' is neither yes nor no", "write yes, no, or nothing"),
        (say(1), "cell H4: '1' is neither yes nor no", "write yes, no, or nothing"),
        (say(True), "cell H4: 'True' is neither yes nor no", "write yes, no, or nothing"),
        (take_another, "is of another evaluation", "take review.xlsx from the run's reports anew"),
        (spoil_one, "row 3: its answers and its digest do not belong together", "change nothing but the columns OK?"),
    ],
)
def test_a_workbook_that_was_changed_otherwise(book: Book, change: Any, says: str, advice: str) -> None:
    change(book)

    with pytest.raises(StageError) as caught:
        book.read()

    assert f"filled.xlsx, {says}" in caught.value.message or f"filled.xlsx {says}" in caught.value.message
    assert advice in caught.value.advice


def test_files_that_are_no_such_workbook(book: Book) -> None:
    with pytest.raises(StageError, match="has no sheet Review"):
        book.read("Sheet1")
    book.path.write_text("question,expected\n")
    with pytest.raises(StageError, match="is no workbook that can be read"):
        read_review_sheet(book.path, book.report)
    with pytest.raises(StageError, match="cannot be read: No such file"):
        read_review_sheet(book.path.with_name("nowhere.xlsx"), book.report)


def test_the_same_questions_of_another_job_are_another_evaluation(book: Book, tmp_path: Path) -> None:
    other = Book(tmp_path / "other", [(BAD, "90 days"), (NONE, NONE), (BAD, "30 days")])
    book.rows = other.rows

    with pytest.raises(StageError, match="is of another evaluation"):
        book.read()


def test_answers_that_no_cell_holds_are_cut_on_both_sides(tmp_path: Path) -> None:
    assert Book(tmp_path, [(BAD, "90 days " + "x" * 40_000)]).read() == [Mark(0, "row 2")]
