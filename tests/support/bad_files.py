"""A corpus of bad files: bytes, and what the checks must say about them at which place."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xlsxwriter
from pyarrow import parquet

GOOD = {"prompt": "How long is the leave?", "completion": "It is 24 days."}
OTHER = {"prompt": "Who approves it?", "completion": "Your line manager."}
USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
SYSTEM = {"role": "system", "content": "Be brief."}
HUMAN, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}


@dataclass(frozen=True)
class BadFile:
    """`finds`: code and place of every finding of the rows; `refused`: words of the message when no row can be read."""

    name: str
    data: bytes
    finds: tuple[tuple[str, str], ...] = ()
    refused: str = ""


# rows that are JSON and no training rows, by the code that says why
BAD_ROWS: list[tuple[str, Any]] = [
    ("NotAnObject", "a text"),
    ("NotAnObject", 3),
    ("NotAnObject", None),
    ("NotAnObject", [GOOD]),
    ("UnknownFormat", {}),
    ("UnknownFormat", {"prompt": "no completion"}),
    ("UnknownFormat", {"Prompt": "a", "Completion": "b"}),
    ("UnknownFormat", {"data": [GOOD]}),
    ("AmbiguousFormat", {**GOOD, "text": "a"}),
    ("AmbiguousFormat", {**GOOD, "question": "a", "answer": "b"}),
    ("PreferenceUnexpected", {"prompt": "a", "chosen": "b", "rejected": "c"}),
    ("SameAnswers", {"prompt": "a", "chosen": "b", "rejected": "b "}),
    ("NotOneAnswer", {"prompt": "a", "chosen": "b", "rejected": [{"role": "user", "content": "c"}]}),
    ("WrongType", {"prompt": "a", "completion": 24}),
    ("WrongType", {"prompt": ["a"], "completion": "b"}),
    ("WrongType", {"prompt": None, "completion": "b"}),
    ("WrongType", {"instruction": "a", "input": {}, "output": "b"}),
    ("WrongType", {**GOOD, "system": ["a"]}),
    ("WrongType", {"text": {"a": 1}}),
    ("WrongType", {"messages": {}}),
    ("WrongType", {"messages": []}),
    ("WrongType", {"messages": [None]}),
    ("WrongType", {"messages": [{"role": "user"}, ANSWER]}),
    ("WrongType", {"messages": [{"content": "a"}, ANSWER]}),
    ("WrongType", {"messages": [USER, {**ANSWER, "content": [{"type": "text"}]}]}),
    ("WrongType", {"messages": [USER, ANSWER], "tools": {"name": "f"}}),
    ("WrongType", {"messages": [USER, ANSWER], "tools": ["f"]}),
    ("WrongType", {"messages": [USER, {**ANSWER, "tool_calls": [{}]}]}),
    ("WrongType", {"conversations": "Why?"}),
    ("WrongType", {"conversations": [{"from": "human"}, GPT]}),
    ("UnknownRole", {"messages": [{"role": "asistant", "content": "a"}, ANSWER]}),
    ("UnknownRole", {"messages": [{"role": "User", "content": "a"}, ANSWER]}),
    ("UnknownRole", {"messages": [{"role": "", "content": "a"}, ANSWER]}),
    ("UnknownRole", {"conversations": [{"from": "bing", "value": "a"}, GPT]}),
    ("UnknownMessageField", {"messages": [{**USER, "text": "a"}, ANSWER]}),
    ("UnknownMessageField", {"messages": [{**USER, "tool_calls": []}, ANSWER]}),
    ("UnknownMessageField", {"messages": [USER, {**ANSWER, "tool_call_id": "1"}]}),
    ("UnknownMessageField", {"conversations": [HUMAN, {**GPT, "markdown": 1}]}),
    ("WrongWeight", {"messages": [USER, {**ANSWER, "weight": 0.5}]}),
    ("WrongWeight", {"messages": [USER, {**ANSWER, "weight": "1"}]}),
    ("WrongWeight", {"messages": [USER, {**ANSWER, "weight": -1}]}),
    ("WrongWeight", {"messages": [{**SYSTEM, "weight": 1}, USER, ANSWER]}),
    ("NothingTrained", {"messages": [USER, {**ANSWER, "weight": 0}]}),
    ("NoAssistantTurn", {"messages": [USER]}),
    ("NoAssistantTurn", {"messages": [SYSTEM, USER]}),
    ("NoAssistantTurn", {"messages": [USER, ANSWER, USER]}),
    ("NoAssistantTurn", {"conversations": [GPT, HUMAN]}),
    ("EmptyTurn", {"prompt": "a", "completion": ""}),
    ("EmptyTurn", {"prompt": "a", "completion": " \n\t"}),
    ("EmptyTurn", {"prompt": "\u00a0", "completion": "b"}),
    ("EmptyTurn", {"instruction": "", "input": "", "output": "b"}),
    ("EmptyTurn", {"text": " "}),
    ("EmptyTurn", {"messages": [USER, {**ANSWER, "content": "\u2003"}]}),
]

# lines of JSON Lines that are no JSON, or not in a way that survives in a Python string
BAD_LINES: list[tuple[str, bytes]] = [
    ("BrokenJson", b'{"prompt": "a", "completion": "b"'),
    ("BrokenJson", b'{"prompt": "a", "completion": "b"},'),
    ("BrokenJson", b"{'prompt': 'a', 'completion': 'b'}"),
    ("BrokenJson", b'{"prompt": "a" "completion": "b"}'),
    ("BrokenJson", b'{"prompt": "a", "completion": "b",}'),
    ("BrokenJson", b'{"prompt": "a"} {"completion": "b"}'),
    ("BrokenJson", b'{"prompt": "a\tb", "completion": "b"}'),
    ("BrokenJson", b'{"prompt": "\\x41", "completion": "b"}'),
    ("BrokenJson", b"{prompt: a}"),
    ("BrokenJson", b"[" * 50_000),
    ("BrokenJson", b'{"a":' * 50_000),
    ("BrokenJson", b"prompt,completion"),
    ("BrokenJson", b"\x00"),
    ("BrokenJson", b"---"),
    ("NotUtf8", b'{"prompt": "Gr\xfc\xdfe", "completion": "b"}'),
    ("NotUtf8", b'{"prompt": "\xed\xa0\x80", "completion": "b"}'),
    ("NotUtf8", b'{"prompt": "\xc0\xaf", "completion": "b"}'),
    ("NotUtf8", b"\x80\x81"),
    ("BrokenText", b'{"prompt": "\\ud83d", "completion": "b"}'),
    ("BrokenText", b'{"prompt": "a", "completion": "\\udc00 b"}'),
    ("BrokenText", b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}'),
    ("NotAnObject", b"NaN"),
    ("NotAnObject", b'"\\ud800"'),
]

# answers that a row may be trained on, and that somebody should look at
ODD_ANSWERS: list[tuple[str, str]] = [
    ("ControlCharacters", "a\x07b"),
    ("ControlCharacters", "a\x7fb"),
    ("ControlCharacters", "a\u2028b"),
    ("Mojibake", "MÃ¼ller"),
    ("Mojibake", "donâ€™t"),
    ("Mojibake", "M\ufffdller"),
    ("HtmlLeftOver", "<div class='x'>a</div>"),
    ("HtmlLeftOver", "a<br>b"),
    ("HtmlLeftOver", "Fish &amp; Chips"),
    ("PersonalData", "ann.lee@mail.example.org"),
    ("PersonalData", "+1 212 555 0123 4"),
    ("PersonalData", "GB82 WEST 1234 5698 7654 32"),
    ("PersonalData", "5500-0000-0000-0004"),
    ("Secret", "AKIAIOSFODNN7EXAMPLE"),
    ("Secret", "xoxb-1234567890-abcdef"),
    ("LengthOutlier", "word " * 1000),
]


def json_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def workbook(**sheets: list[list[Any]]) -> bytes:
    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True}) as book:
        for title, rows in sheets.items():
            sheet = book.add_worksheet(title)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return data.getvalue()


def columnar(rows: list[dict[str, Any]]) -> bytes:
    data = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), data)
    return data.getvalue()


def corpus() -> Iterator[BadFile]:
    """All bad files; rows without a finding are good ones."""
    yield from _bad_rows()
    for code, line in BAD_LINES:
        good, other = (json.dumps(row).encode() for row in (GOOD, OTHER))
        yield BadFile("a.jsonl", b"\n".join([good, b"", line, other]), ((code, "a.jsonl:3"),))
    for code, answer in ODD_ANSWERS:
        row = {"prompt": "What is it?", "completion": answer}
        yield BadFile("a.jsonl", json_lines([GOOD, row, OTHER]), ((code, "a.jsonl:2"),))
    yield from _tables()
    yield from _sets()
    yield from _refused()


def _bad_rows() -> Iterator[BadFile]:
    for code, row in BAD_ROWS:
        rows = [GOOD, row, OTHER]
        yield BadFile("a.jsonl", json_lines(rows), ((code, "a.jsonl:2"),))
        yield BadFile("a.jsonl.gz", gzip.compress(b"\n\n" + json_lines(rows)), ((code, "a.jsonl.gz:4"),))
        text = "[\n" + ",\n\n".join(json.dumps(row) for row in rows) + "\n]\n"
        yield BadFile("a.json", text.encode(), ((code, "a.json:4"),))


def _tables() -> Iterator[BadFile]:
    head, good = "question,answer\n", "How long?,24 days\n"
    for code, line in [
        ("EmptyTurn", "Why?,"),
        ("EmptyTurn", ",Because."),
        ("EmptyTurn", '"  ",Because.'),
        ("MissingField", "Why?"),
        ("ExtraField", "Why?,Because, of that"),
        ("BrokenCsv", '"Why" me?,Because.'),
    ]:
        text = f'{head}{good}"two\nlines",fine\n{line}\nWho?,You.\n'
        yield BadFile("a.csv", text.encode(), ((code, "a.csv:5"),))
        yield BadFile("a.csv", text.replace("\n", "\r\n").encode(), ((code, "a.csv:5"),))
    yield BadFile("a.csv", f"{head}{good}".encode() + b"Gr\xfc\xdfe,ja\n", (("NotUtf8", "a.csv:3"),))
    yield BadFile("a.csv", b"frage,antwort\nWarum?,Darum.\n", (("UnknownFormat", "a.csv:2"),))
    yield BadFile("a.csv", b"messages\n[1\n", (("BrokenJson", "a.csv:2"),))
    yield BadFile("a.csv", b"messages\n[1]\n", (("WrongType", "a.csv:2"),))
    header = ["question", "answer"]
    for code, cells in [("EmptyTurn", ["Why?"]), ("EmptyTurn", ["", "b"]), ("ExtraField", ["a", "b", "", "d"])]:
        rows = [header, ["How long?", 24], [], cells, ["Who?", "You."]]
        yield BadFile("a.xlsx", workbook(HR=rows, Notes=[]), ((code, "a.xlsx:HR!A4"),))
        yield BadFile("a.xlsx", workbook(Empty=[], HR=rows), ((code, "a.xlsx:HR!A4"),))
    rows = [["note"], ["ask Ann"]]
    yield BadFile("a.xlsx", workbook(HR=[header, ["a", "b"]], Notes=rows), (("UnknownFormat", "a.xlsx:Notes!A2"),))
    for code, value in [("WrongType", 7), ("WrongType", None), ("EmptyTurn", "")]:
        table = [{"prompt": value, "completion": "b"}] if value == 7 else [GOOD, {"prompt": value, "completion": "b"}]
        yield BadFile("a.parquet", columnar(table), ((code, f"a.parquet:{len(table)}"),))


def _sets() -> Iterator[BadFile]:
    """What rows are only beside each other."""
    again = {"prompt": "how long is the  leave?", "completion": "it is 24 days."}
    yield BadFile("a.jsonl", json_lines([GOOD, OTHER, again]), (("Duplicate", "a.jsonl:3 and a.jsonl:1"),))
    other_number = {**GOOD, "completion": "It is 30 days."}
    places = "a.jsonl:2 and a.jsonl:1"
    yield BadFile("a.jsonl", json_lines([GOOD, other_number]), (("ContradictingNumbers", places),))
    other_words = {**GOOD, "completion": "Nobody knows."}
    yield BadFile("a.jsonl", json_lines([GOOD, other_words]), (("ContradictingAnswers", places),))
    yield BadFile("a.jsonl", json_lines([{"messages": [USER, USER, ANSWER]}]), (("TurnsOutOfOrder", "a.jsonl:1"),))
    yield BadFile("a.jsonl", json_lines([{"messages": [ANSWER]}]), (("TurnsOutOfOrder", "a.jsonl:1"),))


def _refused() -> Iterator[BadFile]:
    packed = gzip.compress(json_lines([GOOD] * 50))
    yield BadFile("a.jsonl", b"", refused="a.jsonl is empty")
    yield BadFile("a.jsonl", b" \n\n", refused="a.jsonl is empty")
    yield BadFile("a.json", b"[]", refused="a.json is empty")
    yield BadFile("a.csv", b"question,answer\n", refused="a.csv is empty")
    yield BadFile("a.xlsx", workbook(HR=[["question", "answer"]]), refused="a.xlsx is empty")
    yield BadFile("a.parquet", columnar([GOOD])[:0] + b"PAR1PAR1", refused="a.parquet is damaged after row 0")
    yield BadFile("a.json", b'[\n{"prompt": "a"},\n{"prompt": }]', refused="a.json, line 3: not valid JSON")
    yield BadFile("a.json", b'[{"prompt": "a"}', refused="a.json, line 1: not valid JSON")
    yield BadFile("a.csv", b'question,answer\na,b\n"c,d\ne,f\n', refused="a.csv, line 3: a quotation mark is opened")
    yield BadFile("a.csv", b"text,text\na,b\n", refused="a.csv, line 1: two columns have the same name")
    yield BadFile("a.jsonl.gz", packed[:40], refused="a.jsonl.gz is damaged")
    yield BadFile("a.jsonl.gz", packed[:-4] + b"abcd", refused="a.jsonl.gz is damaged")
    yield BadFile("a.zst", b"\x28\xb5\x2f\xfd\x00", refused="a.zst is damaged")
    yield BadFile("a.xlsx", workbook(HR=[["text"], ["a"]])[:-30], refused="a.xlsx is no Excel workbook")
    yield BadFile("a.gz", gzip.compress(packed), refused="a.gz is compressed twice")
    yield BadFile("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", refused="a.xls is a workbook of an old")
