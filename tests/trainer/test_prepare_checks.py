"""Checks over all rows: what each finds, what it leaves alone, and what is dropped or masked for it."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows
from vernacular_trainer.contract import DatasetConfig, StageFailure
from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.checks.similarity import components
from vernacular_trainer.data.checks.words import content_key, shingles, similarity
from vernacular_trainer.data.findings import FINDINGS, Severity
from vernacular_trainer.data.formats import parse_row
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import parse_questions
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.row_store import RowStore, pack
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.similar_rows import similar_rows
from vernacular_trainer.data.workers import INLINE
from vernacular_trainer.errors import StageError

ROOT = Path(__file__).resolve().parents[2]
WHOLE_SET = {"FewRows"}


def conversations(*rows: Any) -> list[Conversation]:
    """Rows as pairs of question and answer, or in any format."""
    dicts = [row if isinstance(row, dict) else {"prompt": row[0], "completion": row[1]} for row in rows]
    parsed = [parse_row(row) for row in dicts]
    return [Conversation(f"a:{i}", p.messages, p.tools, p.plain) for i, p in enumerate(parsed, start=1)]


def found(*rows: Any, questions: str = "", **config: Any) -> tuple[dict[str, tuple[str, ...]], Reviewed, ProblemLog]:
    """First places by code, without findings about the size of the set."""
    problems = ProblemLog()
    asked = parse_questions(questions, "q") if questions else ()
    reviewed = review(conversations(*rows), DatasetConfig((), **config), asked, problems)
    assert len(reviewed.conversations) + len(problems.rejected) == len(rows)
    places = {problem.code: problem.first_rows for problem in problems.problems() if problem.code not in WHOLE_SET}
    return places, reviewed, problems


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("a\x00b", "ControlCharacters"),
        ("a\x1b[0m", "ControlCharacters"),
        ("a\ufeffb", "ControlCharacters"),
        ("GrÃ¼ÃŸe", "Mojibake"),
        ("itâ€™s", "Mojibake"),
        ("10Â\xa0km", "Mojibake"),
        ("gr\ufffd\ufffde", "Mojibake"),
        ("<p>Hello</p>", "HtmlLeftOver"),
        ("one<br/>two", "HtmlLeftOver"),
        ('<a href="x">y</a>', "HtmlLeftOver"),
        ("a&nbsp;b", "HtmlLeftOver"),
        ("&#8217;", "HtmlLeftOver"),
        ("write to ann@example.com", "PersonalData"),
        ("call +49 30 1234567", "PersonalData"),
        ("call 0049-30-1234567", "PersonalData"),
        ("call (212) 555-0123", "PersonalData"),
        ("pay to DE89 3704 0044 0532 0130 00", "PersonalData"),
        ("card 4111 1111 1111 1111", "PersonalData"),
        ("SSN 123-45-6789", "PersonalData"),
        ("key AKIAIOSFODNN7EXAMPLE", "Secret"),
        ("ghp_" + "a1B2" * 9, "Secret"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----", "Secret"),
        ("hf_" + "aB3" * 11, "Secret"),
        ("postgres://admin:hunter2@db/x", "Secret"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.dozjgNryP4J3jVmNHl0w", "Secret"),
    ],
)
def test_a_text_with_marks_of_trouble_is_found(answer: str, code: str) -> None:
    assert found(("Why?", answer), ("How?", "fine"))[0] == {code: ("a:1",)}


@pytest.mark.parametrize(
    "answer",
    [
        "Zwölf Jahre, größer als 3 < 5 & 7 > 2",
        "line\nbreak\tand tab",
        "if a<b: return c",
        "AT&T; R&D",
        "Âge et São João",
        "2026-01-02 12:30:45, version 1.2.3.4",
        "order 1234 5678 9012 3456",
        "90 days, 1,000,000 euros, 12345678",
        "DE00 0000 0000 0000 0000 00",
        "x@y, @name, a@b",
        "000-12-3456 and 123-456-7890",
        "skip-list and task-based",
        "日本語のテキスト。",
        "http://host:8080/path",
    ],
)
def test_ordinary_text_is_left_alone(answer: str) -> None:
    assert found(("Why?", answer), ("How?", "fine"))[0] == {}


USER, ANSWER, SYSTEM = ({"role": role, "content": f"{role} says"} for role in ("user", "assistant", "system"))
CALL = {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": {"to": "ann@example.com"}}}]}
TOOL = {"role": "tool", "content": "1"}


@pytest.mark.parametrize(
    ("messages", "odd"),
    [
        ([USER, ANSWER], False),
        ([SYSTEM, USER, ANSWER, USER, ANSWER], False),
        ([USER, CALL, TOOL, TOOL, ANSWER], False),
        ([ANSWER], True),
        ([SYSTEM, ANSWER], True),
        ([USER, USER, ANSWER], True),
        ([USER, ANSWER, ANSWER], True),
        ([USER, SYSTEM, ANSWER], True),
        ([USER, TOOL, ANSWER], True),
        ([USER, CALL, ANSWER], True),
    ],
)
def test_the_order_of_turns(messages: list[dict[str, Any]], odd: bool) -> None:
    assert ("TurnsOutOfOrder" in found({"messages": messages})[0]) == odd


def test_exact_duplicates_are_reported_or_dropped() -> None:
    rows = (("Why?", "So."), ("why? ", "so."), ("Why?", "No."), ("How?", "So."))

    reported, kept, _ = found(*rows)
    _, left, problems = found(*rows, duplicates="DropExact")

    assert reported["Duplicate"] == ("a:2 and a:1",)
    assert len(kept.conversations) == 4
    assert [row.row for row in left.conversations] == ["a:1", "a:3", "a:4"]
    assert [(item.row, item.code) for item in problems.rejected] == [("a:2", "Duplicate")]


def test_rows_that_train_something_else_are_no_duplicates() -> None:
    told = {"role": "tool", "content": "1", "name": "days", "tool_call_id": "1"}
    first = [USER, CALL, told, {**ANSWER, "content": "first"}, USER, ANSWER]
    others = [
        [*first[:3], {**first[3], "weight": 0}, USER, ANSWER],
        [USER, CALL, {**told, "name": "hours"}, *first[3:]],
        [USER, CALL, {**told, "tool_call_id": "2"}, *first[3:]],
    ]

    _, left, _ = found(*({"messages": messages} for messages in (first, *others, first)), duplicates="DropExact")

    assert [row.row for row in left.conversations] == ["a:1", "a:2", "a:3", "a:4"]


QUESTION = "How long must a senior consultant of the company stay after the day on which the notice was given?"
REPLY = "A senior consultant of the company has a notice period of 90 days, unless the manager agrees to less."


def test_near_duplicates_are_reported_or_dropped_but_never_rows_with_other_numbers() -> None:
    near = (QUESTION.replace("the company", "this company"), REPLY.replace("agrees", "consents"))
    other_number = (QUESTION, REPLY.replace("90", "30"))
    reworded = ("Notice period of a senior consultant?", REPLY)
    rows = ((QUESTION, REPLY), near, other_number, reworded, near)

    reported, _, _ = found(*rows)
    exact, _, _ = found(*rows, duplicates="DropExact")
    _, left, problems = found(*rows, duplicates="DropNear")

    assert reported["NearDuplicate"] == exact["NearDuplicate"] == ("a:2 and a:1",)
    assert [row.row for row in left.conversations] == ["a:1", "a:3", "a:4"]
    assert {(item.row, item.code) for item in problems.rejected} == {("a:2", "NearDuplicate"), ("a:5", "Duplicate")}


def test_plain_texts_are_compared_as_a_whole() -> None:
    text = " ".join(f"word{i}" for i in range(60))

    reported, reviewed, _ = found({"text": text}, {"text": text + " more"}, {"text": "Something else."})

    assert reported == {"NearDuplicate": ("a:2 and a:1",)}
    assert reviewed.similar == ((0, 1),)


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        (("How long is the notice period?", "90 days."), ("how long is our notice-period", "30 days."), "Numbers"),
        (("What does a meal cost?", "At most 1.50"), ("What do meals cost?", "At most 1.70"), "Numbers"),
        (("Who approves leave?", "Your line manager."), ("Who approves the leave?", "Nobody does that."), "Answers"),
        (("Who approves leave?", "Your line manager."), ("Who approves leave?", "Your line manager does."), ""),
        (("Leave in grade A?", "24 days"), ("Leave in grade B?", "30 days"), ""),
        (("Leave of number 3?", "24 days"), ("Leave of number 4?", "30 days"), ""),
        (("May I fly?", "Yes, with 2 bags."), ("May I not fly?", "No, 3 people said."), ""),
        (("How long is parental leave?", "14 weeks"), ("How much is parental leave?", "65 %"), ""),
        (("Wie lange ist die Elternzeit?", "3 Jahre"), ("Wie viel ist die Elternzeit?", "65 %"), ""),
        (("When is it?", "At 5."), ("Where is it?", "Room 7."), ""),
    ],
)
def test_contradictions(one: tuple[str, str], other: tuple[str, str], code: str) -> None:
    places, reviewed, _ = found(one, other)

    assert places == ({f"Contradicting{code}": ("a:2 and a:1",)} if code else {})
    assert [(sample.row.row, sample.other.row) for sample in reviewed.samples] == ([("a:2", "a:1")] if code else [])


def test_another_system_message_explains_another_answer() -> None:
    rows = [{"prompt": "Limit?", "completion": f"{n} days", "system": f"Country {n}."} for n in (1, 2)]

    assert found(*rows)[0] == {}


def test_rows_that_ask_a_held_out_question_are_named() -> None:
    question = '{"question": "How long is the notice period?", "expected": "90 days"}'

    places, _, _ = found(
        ("how long is the Notice-Period", "90 days"), ("What is the notice period?", "90 days"), questions=question
    )

    assert places == {"LeakedQuestion": ("a:1 and q:1",)}


def test_answers_that_are_all_alike_and_long_ones() -> None:
    different = [(f"Question number {i} about {i}", f"The answer {i} is {i}.") for i in range(30)]
    alike = [(f"Another question {i} about {i}", "I cannot say.") for i in range(30)]

    assert found(*different)[0] == {}
    assert found(*different, *alike)[0]["AnswersAlike"][0] == "a:31"
    assert found(*different, ("Tell all", "word " * 1000))[0] == {"LengthOutlier": ("a:31",)}


def test_few_rows_are_said() -> None:
    _, _, problems = found(*[(f"Question {i} of {i}", f"Answer {i}") for i in range(49)])

    assert [(problem.code, problem.first_rows) for problem in problems.problems()] == [("FewRows", ())]


def test_personal_data_is_masked_everywhere_when_the_job_says_so() -> None:
    row = {"messages": [{"role": "user", "content": "I am ann@example.com"}, CALL, TOOL, ANSWER]}

    places, reviewed, _ = found(row, personal_data="Redact")

    (kept,) = reviewed.conversations
    assert places == {"PersonalData": ("a:1",)}
    assert reviewed.personal_data == {"EMAIL": 2}
    assert kept.messages[0].content == "I am [EMAIL]"
    assert kept.messages[1].tool_calls[0]["function"]["arguments"] == {"to": "[EMAIL]"}


def test_personal_data_fails_the_job_when_it_says_so() -> None:
    with pytest.raises(StageError) as caught:
        found(("Why?", "So."), ("Who?", "ann@example.com, DE89370400440532013000"), personal_data="Fail")

    assert caught.value.code is StageFailure.DATASET_PERSONAL_DATA
    assert caught.value.message == "a, line 2: personal data or a secret; in all rows 1 EMAIL, 1 IBAN"
    assert "Redact" in caught.value.advice
    assert found(("Why?", "So."), ("How?", "Fine."), personal_data="Fail")[0] == {}


def test_masks_name_the_kind() -> None:
    text = "Ann, +49 30 1234567, DE89370400440532013000, 4111-1111-1111-1111"

    assert masked(text) == "Ann, [PHONE], [IBAN], [CARD]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111 1111 1111 1111 123", "[CARD] 123"),
        ("card 4111 1111 1111 1111 12/26 123", "card [CARD] 12/26 123"),
        ("4111111111111111 4111-1111-1111-1111 7", "[CARD] [CARD] 7"),
        ("no 12 3782 822463 10005", "no 12 [CARD]"),
        ("AT611904300234573201 BIC GIBAATWW", "[IBAN] BIC GIBAATWW"),
        ("BE68 5390 0754 7034 EUR", "[IBAN] EUR"),
        ("BE68 5390 0754 7034 AT61 1904 3002 3457 3201 EUR", "[IBAN] [IBAN] EUR"),
        ("-----BEGIN PRIVATE KEY-----\n" + "MII\n" * 9000 + "-----END PRIVATE KEY-----\nso", "[SECRET]\nso"),
        ("it is -----BEGIN PRIVATE KEY-----\n" + "MII\n" * 9000, "it is [SECRET]"),
        ("table 12 34 56 78 90 12 34 56 78 91", "table 12 34 56 78 90 12 34 56 78 91"),
    ],
)
def test_masks_cover_the_whole_of_it_and_nothing_beside(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_a_long_text_that_looks_like_a_token_is_searched_once() -> None:
    started = time.process_time()

    assert masked("-eyJ" * 50_000)

    assert time.process_time() - started < 5


def test_tools_are_masked_as_well() -> None:
    tools = [{"name": "mail", "description": "Writes to ann@example.com"}]

    places, reviewed, _ = found({"messages": [USER, ANSWER], "tools": tools}, personal_data="Redact")

    assert places == {"PersonalData": ("a:1",)}
    assert reviewed.conversations[0].tools[0]["description"] == "Writes to [EMAIL]"


def test_the_system_prompt_of_the_job_stays_as_it_is_asked_with() -> None:
    prompt = "Answer for hr@example.com."
    rows = [{"prompt": "Why?", "completion": "So.", "system": text} for text in (prompt, "I am ann@example.com.")]

    places, reviewed, _ = found(*rows, personal_data="Redact", system_prompt=prompt)

    assert places["PersonalData"] == ("a:2",)
    assert [row.system for row in reviewed.conversations] == [prompt, "I am [EMAIL]."]
    assert "PersonalData" not in found(rows[0], personal_data="Fail", system_prompt=prompt)[0]


def test_masked_rows_still_ask_a_question_with_personal_data() -> None:
    question = '{"question": "Who is ann@example.com?", "expected": "Ann"}'

    for policy in ("Report", "Redact"):
        places, _, _ = found(("Who is ann@example.com?", "Ann."), questions=question, personal_data=policy)
        assert places["LeakedQuestion"] == ("a:1 and q:1",)


def similar_texts(texts: list[str]) -> tuple[tuple[int, int], ...]:
    rows = [Conversation(f"a:{i}", (Message("assistant", text),), plain=True) for i, text in enumerate(texts)]
    return similar_rows(RowStore.of([pack(rows)]), INLINE).pairs


def test_similar_texts_are_found_among_many() -> None:
    generator = random.Random(7)
    texts = [" ".join(generator.choices([f"w{i}" for i in range(5000)], k=30)) for _ in range(500)]
    for i in range(50):
        texts.append(texts[i] + " tail")

    pairs = similar_texts([*texts, "", "?!"])

    assert pairs == tuple((i, 500 + i) for i in range(50))
    assert pairs == similar_texts(texts)


def test_texts_that_are_all_alike_are_one_group_without_all_their_pairs() -> None:
    pairs = similar_texts(["the same words again and again"] * 1000)

    assert set(components(1000, pairs)) == {0}
    assert len(pairs) < 2000


def test_words_of_languages_without_spaces_are_letters() -> None:
    assert similarity(shingles("通知期間は九十日です"), shingles("通知期間は三十日です")) > 0.5
    assert content_key("Wie lange ist die Kündigungsfrist?") == content_key("wie lange ist eine Kündigungsfrist")


def test_the_examples_have_no_findings_that_a_check_invents() -> None:
    lines = (ROOT / "examples/hr-bot/train.jsonl").read_text().splitlines()
    places, _, _ = found(*map(json.loads, lines), questions=(ROOT / "examples/hr-bot/questions.jsonl").read_text())

    assert places == {"NearDuplicate": ("a:62 and a:60",)}  # "What is a Green Slip?", "What is a Green Slip for?"
    assert found(*handbook_rows(60))[0] == {}


@pytest.mark.parametrize("code", FINDINGS)
def test_every_finding_is_explained(code: str) -> None:
    finding = FINDINGS[code]

    assert finding.severity in Severity
    assert finding.what
    assert 10 < len(finding.advice) <= 256
    assert code.isalnum()
    assert code[0].isupper()


def test_rows_are_not_changed_by_a_review() -> None:
    rows = conversations(("Why?", "ann@example.com"))

    review(rows, DatasetConfig((), personal_data="Redact"), (), ProblemLog())

    assert rows[0].messages[1] == Message("assistant", "ann@example.com")
