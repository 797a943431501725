"""The parts of the evaluation that need no model: measures, retrieval, lessons, time, sheets and the page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from support.stage_jobs import write_lines
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.glossary import Glossary, parse_glossary
from vernacular_trainer.data.held_out import origins_of
from vernacular_trainer.data.questions import Question, parse_questions
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.allowance import Allowance, Pace, allow, allowance_of
from vernacular_trainer.evaluation.consistency import agreeing
from vernacular_trainer.evaluation.general_questions import general_questions
from vernacular_trainer.evaluation.generate import room_for
from vernacular_trainer.evaluation.groups import groups
from vernacular_trainer.evaluation.lessons import ADVICE, Why, lessons
from vernacular_trainer.evaluation.measures import Nearness, nearness
from vernacular_trainer.evaluation.prompting import TaughtRow, TaughtRows, with_rows
from vernacular_trainer.evaluation.retrieval import Index
from vernacular_trainer.evaluation.scoring import Score, Scored
from vernacular_trainer.evaluation.sheets import write_collect_next, write_review_sheet
from vernacular_trainer.workspace import Workspace

RIGHT, WRONG, DECLINED = (Scored(score) for score in Score)


def question(text: str, expected: str = "", **changes: Any) -> Question:
    return Question("q:1", (Message("user", text),), expected, **changes)


@pytest.mark.parametrize(
    ("expected", "answer", "near"),
    [
        ("90 days", "Ninety days!", Nearness(True, 1.0, 1.0)),
        # shared: the, 90; 2 * 2 / (4 + 3)
        ("the notice is 90", "90, the end", Nearness(False, 4 / 7, 2 / 7)),
        ("a b c d", "a x c y", Nearness(False, 0.5, 0.5)),
        ("yes", "", Nearness(False, 0.0, 0.0)),
    ],
)
def test_nearness_by_hand(expected: str, answer: str, near: Nearness) -> None:
    found = nearness(expected, answer)

    assert (found.exact, found.f1, found.rouge_l) == (near.exact, pytest.approx(near.f1), pytest.approx(near.rouge_l))


def test_rows_are_found_by_rare_words_first() -> None:
    index = Index(["notice of a junior", "notice of a senior consultant", "leave of a junior", "parking"])

    assert [match.index for match in index.search("What notice has a senior?", 2)] == [1, 0]
    assert index.search("weather", 5) == []
    assert Index([]).search("anything", 5) == []


def test_held_out_rows_are_never_put_into_a_prompt(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    rows = [
        {"messages": [{"role": "user", "content": f"leave {n}"}, {"role": "assistant", "content": f"{n} days"}]}
        for n in range(4)
    ]
    write_lines(workspace.clean_rows, [*rows, {"text": "leave is granted by the manager"}])
    write_json(workspace.held_out_lines, {"lines": [2, 4]})

    found = TaughtRows.read(workspace).nearest("leave", 10)

    assert {row.answer for row in found} == {"0 days", "2 days", "leave is granted by the manager"}


def test_the_best_row_stands_nearest_to_the_question() -> None:
    asked = Question("q", (Message("system", "Be brief."), Message("user", "How long?")), "")

    system, user = with_rows(asked, (TaughtRow("a?", "best"), TaughtRow("", "second")))

    assert system == asked.messages[0]
    assert user.content == (
        "Answer with the help of what is known:\n\nsecond\n\nQuestion: a?\nAnswer: best\n\nQuestion: How long?"
    )
    assert with_rows(asked, ()) == asked.messages


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("what is the leave", "30 days")], Why.NOT_TAUGHT),
        ([("what is the notice period", "90 days")], Why.TOO_FEW_WORDINGS),
        ([("what is the notice period", "90 days"), ("what is the notice", "30 days")], Why.CONTRADICTING),
        ([(f"notice {word}", "90 days") for word in ("period", "time", "duration")], Why.NOT_LEARNT),
    ],
)
def test_why_a_question_was_failed(rows: list[tuple[str, str]], why: Why) -> None:
    taught = TaughtRows([TaughtRow(*row) for row in rows])

    (lesson,) = lessons([question("what is the notice period", "90 days")], [WRONG], taught)

    assert lesson.why == why
    assert lesson.advice


def test_rows_whose_answers_are_cut_off_teach_nothing() -> None:
    cut = TaughtRow("what is the notice period", "90 days", cut=True)
    asked = question("what is the notice period", "90 days")

    assert [lesson.why for lesson in lessons([asked], [WRONG], TaughtRows([cut]))] == [Why.CUT_OFF]
    whole = TaughtRow("how long is the notice", "90 days")
    assert [lesson.why for lesson in lessons([asked], [WRONG], TaughtRows([cut, whole]))] == [Why.TOO_FEW_WORDINGS]


def test_failures_are_grouped_by_what_their_questions_share() -> None:
    glossary = parse_glossary("terms: [{term: bench, definition: a pause, synonyms: [bench time]}]", "g.yaml")
    rows = TaughtRows([TaughtRow("how long is bench time", "a month", "a.jsonl"), TaughtRow("leave", "9", "b.jsonl")])
    asked = [
        question("who pays bench time", "the company", topic="bench"),
        question("how much leave", "twenty four days in each and every year", topic="leave"),
        question("how long is leave", "9 days", topic="leave"),
        question("who knows", answerable=False),
    ]

    found = groups(asked, lessons(asked, [WRONG, DECLINED, RIGHT, RIGHT], rows), rows, glossary)

    assert [(group.by, group.name, group.failed, group.asked) for group in found] == [
        ("topic", "bench", 1, 1),
        ("topic", "leave", 1, 2),
        ("term", "bench", 1, 1),
        ("length", "6 to 20 words", 1, 1),
        ("length", "up to 5 words", 1, 2),
        ("source", "a.jsonl", 1, 1),
        ("source", "b.jsonl", 1, 2),
    ]


def test_a_group_says_what_its_failures_lack_and_which_rows_come_near() -> None:
    rows = TaughtRows(
        [
            TaughtRow("how long is the leave of trainees", "30 days"),
            TaughtRow("how long is the leave of managers", "35 days"),
            TaughtRow("what is the notice period", "90 days"),
        ]
    )
    asked = [
        question("who may take leave", "everybody", topic="leave"),
        question("who grants leave of trainees", "the mentor", topic="leave"),
        question("how many days of leave have trainees", "30 days", topic="leave"),
        question("what is the notice period", "90 days", topic="notice"),
    ]

    leave, notice, *_ = groups(asked, lessons(asked, [WRONG] * 4, rows), rows, Glossary())

    assert leave.lacks == {Why.NOT_TAUGHT: 2, Why.TOO_FEW_WORDINGS: 1}
    assert leave.advice == ADVICE[Why.NOT_TAUGHT]
    # those that come near to most of its questions, not those of one
    assert {row.answer for row in leave.nearest[:2]} == {"30 days", "35 days"}
    assert (notice.lacks, notice.nearest[0].answer) == ({Why.TOO_FEW_WORDINGS: 1}, "90 days")


def test_rows_know_their_file_and_whether_they_were_cut(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_lines(workspace.clean_rows, [{"text": f"leave number {number}"} for number in range(1, 6)])
    rows = [Conversation(f"{name}:7", (Message("assistant", "x"),)) for name in ("a", "a", "pvc://d/b", "b", "b")]
    write_json(workspace.held_out_lines, dataclasses.asdict(origins_of(rows, (1,), (3,))))

    found = {row.answer[-1]: (row.source, row.cut) for row in TaughtRows.read(workspace).nearest("leave", 9)}

    assert found == {"1": ("a", False), "3": ("pvc://d/b", False), "4": ("b", True), "5": ("b", False)}


def test_the_answer_may_be_taught_in_quite_other_words() -> None:
    others = [TaughtRow(f"notice period of grade {grade}", f"{grade} days") for grade in range(10, 20)]
    taught = TaughtRows([*others, TaughtRow("how long must seniors stay", "they stay 90 days")])

    (lesson,) = lessons([question("what is the notice period of a senior", "90 days")], [WRONG], taught)

    assert lesson.why == Why.TOO_FEW_WORDINGS
    assert len(lesson.nearest) == 5


def test_made_up_answers_ask_for_rows_that_decline_and_right_ones_for_nothing() -> None:
    taught = TaughtRows([TaughtRow("who", "me")])
    asked = [question("who is the king", answerable=False), question("who", "me")]

    assert [lesson.why for lesson in lessons(asked, [WRONG, RIGHT], taught)] == [Why.NEVER_DECLINED]
    declining = TaughtRows([TaughtRow("who is the queen", "I don't know")])
    assert [lesson.why for lesson in lessons(asked[:1], [WRONG], declining)] == [Why.NOT_LEARNT]


def test_the_time_is_spent_on_the_world_and_on_prompts() -> None:
    fast, slow = Pace(0.01, 1e-5), Pace(1.0, 0.002)

    assert allow(60, fast, (120, 72), (40, 400), general_demanded=False) == Allowance(120, 40)
    # 120 questions cost 34.6 s, 60 cost 17.3 s of 30; with 400 tokens a prompt costs 1.5 s, of 42.7 s there are 20
    assert allow(60, slow, (120, 72), (40, 400), general_demanded=False) == Allowance(60, 20)
    assert allow(0, slow, (120, 72), (40, 400), general_demanded=False) == Allowance(0, 0)
    assert allow(0, slow, (120, 72), (40, 400), general_demanded=True) == Allowance(120, 0)
    assert allow(-5, slow, (120, 72), (5, 400), general_demanded=False) == Allowance(0, 0)
    assert (allowance_of(0), allowance_of(3600)) == (75, 1200)


def test_answers_have_room_for_what_is_expected() -> None:
    assert [room_for(lengths) for lengths in ([], [10], [100, 20], [5000])] == [64, 64, 150, 512]


def test_questions_in_several_phrasings() -> None:
    line = json.dumps({"question": "How long?", "phrasings": ["For what time?", "How  many days?"], "expected": "9"})

    first, second, third = parse_questions(line, "q.jsonl", "Be brief.")

    assert [item.asked for item in (first, second, third)] == ["How long?", "For what time?", "How  many days?"]
    assert {item.unit for item in (first, second, third)} == {first.digest}
    assert [item.phrasing for item in (first, second, third)] == [0, 1, 2]
    assert {item.messages[0].content for item in (first, second, third)} == {"Be brief."}
    assert len({item.digest for item in (first, second, third)}) == 3
    assert agreeing((first, second, third), (RIGHT, RIGHT, WRONG)) == (0, 1)
    assert agreeing((first, second, third), (WRONG, WRONG, WRONG)) == (1, 1)
    assert agreeing((first,), (WRONG,)) == (0, 0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"question": "a", "phrasings": "b", "expected": "x"}, "phrasings must be a list of texts"),
        ({"question": "a", "phrasings": ["A"], "expected": "x"}, "phrasings repeat a wording"),
        ({"question": "a", "phrasings": ["b", "b "], "expected": "x"}, "phrasings repeat a wording"),
        (
            {"messages": [{"role": "user", "content": "a"}], "phrasings": ["b"], "expected": "x"},
            "phrasings need question, not messages",
        ),
    ],
)
def test_phrasings_that_cannot_be_asked(value: dict[str, Any], says: str) -> None:
    with pytest.raises(StageError, match=says):
        parse_questions(json.dumps(value), "q.jsonl")


def test_the_same_question_has_the_same_digest_in_another_file() -> None:
    one = parse_questions(json.dumps({"question": "How long?", "expected": "9"}), "a.jsonl")[0]
    other = parse_questions(json.dumps({"question": "how  LONG?", "expected": "8"}), "b.jsonl", "Be brief.")[0]

    assert one.digest == other.digest


def test_the_general_questions_are_many_and_fair() -> None:
    found = general_questions()

    assert len(found) >= 100
    assert len({item.question for item in found}) == len(found)
    assert all(len({option.casefold() for option in item.options}) == 4 for item in found)
    assert all(option == option.strip() and option for item in found for option in item.options)


def entry(text: str, expected: str, answer: str) -> dict[str, Any]:
    scored = {"answer": answer, "score": "wrong", "invented": False}
    asked = {"messages": [{"role": "user", "content": text}], "expected": expected, "digest": "d"}
    return {**asked, "base": scored, "tuned": scored}


def test_answers_come_as_a_sheet_to_review(tmp_path: Path) -> None:
    path = tmp_path / "review.xlsx"
    write_review_sheet(path, [entry("How long?", "=1+1", "x" * 40_000)])

    header, line = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()

    assert header[:5] == ["question", "expected", "tuned answer", "scored", "OK?"]
    assert line[:2] == ["How long?", "=1+1"]
    assert len(line[2]) == 32_767
    write_review_sheet(path, [])
    assert not path.exists()


def test_rows_to_write_ask_for_a_question_and_are_refused_without_one(tmp_path: Path) -> None:
    lesson = {
        "why": "NotTaught",
        "advice": "write",
        "topic": "leave",
        "asked": "How long?",
        "expected": "9 days",
        "nearest": [{"question": "a", "answer": "b", "source": "leave.jsonl", "cut": False}],
    }
    write_collect_next(tmp_path / "next.jsonl", tmp_path / "next.xlsx", [lesson])

    (line,) = (tmp_path / "next.jsonl").read_text().splitlines()
    row = json.loads(line)
    with pytest.raises(RowError):
        parse_row(row)
    filled = parse_row({**row, "question": "What is the length of the leave?"})

    assert [message.content for message in filled.messages] == ["What is the length of the leave?", "9 days"]
    sheet = CalamineWorkbook.from_path(str(tmp_path / "next.xlsx")).get_sheet_by_index(0).to_python()
    assert sheet[0][:2] == ["question", "answer"]
    assert sheet[1][1] == "9 days"
    assert row["nearest rows"] == "a -> b [leave.jsonl]"
    write_collect_next(tmp_path / "next.jsonl", tmp_path / "next.xlsx", [])
    assert not list(tmp_path.iterdir())
