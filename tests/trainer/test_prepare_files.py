"""Every kind of file gives the same rows, with the places that people find in their editor."""

from __future__ import annotations

import ast
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter
from pyarrow import parquet

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.reading.files import read_records
from vernacular_trainer.data.reading.record import Record, described
from vernacular_trainer.data.reading.unpack import open_plain, read_whole
from vernacular_trainer.errors import StageError

# the image has no pandas
READ_WITHOUT_PANDAS = """
import sys
class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, NoPandas())
from pathlib import Path
from vernacular_trainer.data.reading.files import read_records
for record in read_records(Path(sys.argv[1]), "a.parquet"):
    print(record.value)
"""

ROWS = [{"question": "How long?", "answer": "90 days"}, {"question": 'Say "a,b"', "answer": "a;\nb\u2028c ü"}]


def read(tmp_path: Path, name: str, data: bytes, **columns: str) -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return list(read_records(path, name, columns))


def refusal(tmp_path: Path, name: str, data: bytes) -> StageError:
    with pytest.raises(StageError) as caught:
        read(tmp_path, name, data)
    assert caught.value.code is StageFailure.DATASET_UNREADABLE
    assert caught.value.advice
    return caught.value


def json_lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def table(separator: str) -> bytes:
    cells = [("Question ", "ANSWER"), *((row["question"], row["answer"]) for row in ROWS)]
    lines = (separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells)
    return "\r\n".join(lines).encode()


def workbook(*sheets: list[list[Any]], first_row: int = 0, first_column: int = 0) -> bytes:
    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True}) as book:
        for number, rows in enumerate(sheets):
            sheet = book.add_worksheet(f"Sheet {number + 1}")
            for index, row in enumerate(rows):
                sheet.write_row(first_row + index, first_column, row)
    return data.getvalue()


def excel() -> bytes:
    return workbook([["Question", "answer"], *([row["question"], row["answer"]] for row in ROWS)])


def columnar(rows: list[Any]) -> bytes:
    data = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), data)
    return data.getvalue()


def twice_named() -> bytes:
    data = io.BytesIO()
    parquet.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), data)
    return data.getvalue()


CONTAINERS: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "a.jsonl": (json_lines, ["1", "2"]),
    "a.json": (lambda: json.dumps(ROWS, indent=1).encode(), ["2", "6"]),
    "a.csv": (lambda: table(","), ["2", "3"]),
    "excel's.csv": (lambda: b"\xef\xbb\xbf" + table(";"), ["2", "3"]),
    "a.tsv": (lambda: table("\t"), ["2", "3"]),
    "a.xlsx": (excel, ["Sheet 1!A2", "Sheet 1!A3"]),
    "a.parquet": (lambda: columnar(ROWS), ["1", "2"]),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data).to_pybytes(),
}


@pytest.mark.parametrize("packed", PACKERS, ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_rows(tmp_path: Path, name: str, packed: str) -> None:
    make, places = CONTAINERS[name]

    records = read(tmp_path, name + packed, PACKERS[packed](make()))

    assert [record.value for record in records] == ROWS
    assert [record.row for record in records] == [f"{name}{packed}:{place}" for place in places]
    assert {record.error for record in records} == {""}


def test_what_a_file_is_its_bytes_say(tmp_path: Path) -> None:
    for data in (json.dumps(ROWS).encode(), json_lines(), excel(), columnar(ROWS), gzip.compress(json_lines())):
        assert [record.value for record in read(tmp_path, "rows", data)] == ROWS


def test_several_members_of_a_packed_file_are_one_file(tmp_path: Path) -> None:
    first, second = json_lines().splitlines(keepends=True)

    for pack in (PACKERS[".gz"], PACKERS[".zst"]):
        assert len(read(tmp_path, "a.jsonl", pack(first) + pack(second))) == 2


def test_utf_16_with_its_mark_is_read(tmp_path: Path) -> None:
    assert [r.value for r in read(tmp_path, "a.jsonl", json_lines().decode().encode("utf-16"))] == ROWS
    assert [r.value for r in read(tmp_path, "a.csv", table("\t").decode().encode("utf-16"))] == ROWS


def test_cells_are_texts_as_people_read_them_and_nested_columns_hold_json(tmp_path: Path) -> None:
    book = workbook([["question", "answer", "messages"], ["a", 90.0, '[{"role": "user"}]'], [1.5, True, ""]])

    first, second = read(tmp_path, "a.xlsx", book)

    assert first.value == {"question": "a", "answer": "90", "messages": [{"role": "user"}]}
    assert second.value == {"question": "1.5", "answer": "true", "messages": None}


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"Input": "question", "Output": "answer"}, ["question", "answer"]),
        ({"input": "question"}, ["question", "output"]),
        ({"Input": "output", "Output": "input"}, ["output", "input"]),
    ],
)
def test_columns_of_tables_are_renamed_before_their_case_is_ignored(
    tmp_path: Path, columns: dict[str, str], named: list[str]
) -> None:
    for name, data in (("a.csv", b"Input,Output\na,b\n"), ("a.xlsx", workbook([["Input", "Output"], ["a", "b"]]))):
        (record,) = read(tmp_path, name, data, **columns)
        assert record.value == dict(zip(named, "ab", strict=True))


def test_cells_of_a_renamed_column_hold_json(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "a.csv", b"Verlauf\n[1]\n", Verlauf="messages")

    assert record.value == {"messages": [1]}


def test_tables_may_begin_anywhere_and_on_several_sheets(tmp_path: Path) -> None:
    book = workbook([["prompt", "completion"], ["a", "b"], [], ["c", "d"]], [], [["text"], ["e"]], first_row=3)

    records = read(tmp_path, "a.xlsx", book)

    assert [record.row for record in records] == ["a.xlsx:Sheet 1!A5", "a.xlsx:Sheet 1!A7", "a.xlsx:Sheet 3!A5"]
    assert described(records[0].row) == "a.xlsx, Sheet 1!A5"


def test_times_of_any_kind_are_read_as_texts(tmp_path: Path) -> None:
    instants = {"ns": pa.timestamp("ns"), "zone": pa.timestamp("us", "Nowhere/Known"), "far": pa.timestamp("ms")}
    columns = {name: pa.array([2**60 + 1], kind) for name, kind in instants.items()}
    columns["in"] = pa.array([[{"at": 1}]], pa.list_(pa.struct([("at", pa.timestamp("ns"))])))
    columns["time"] = pa.array([1], pa.time64("ns"))
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")

    command = [sys.executable, "-c", READ_WITHOUT_PANDAS, str(tmp_path / "a.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    value = ast.literal_eval(done.stdout)
    assert value["ns"] == "2006-07-14 23:58:24.606846977"
    assert value["in"] == [{"at": "1970-01-01 00:00:00.000000001"}]
    assert all(isinstance(value[name], str) for name in ("zone", "far", "time"))


def test_members_that_other_rows_of_a_column_have_are_left_out(tmp_path: Path) -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": [{"c": None}]}}]

    records = read(tmp_path, "a.parquet", columnar([{"calls": [call], "text": None} for call in calls]))

    assert records[0].value == {"calls": [calls[0]], "text": None}
    assert records[1].value == {"calls": [{"name": "g", "arguments": {"b": [{}]}}], "text": None}


def test_rows_of_csv_are_at_the_line_where_they_begin(tmp_path: Path) -> None:
    text = 'prompt,completion\n\n"a\nb","c\r\nd"\ne,f,g\n"h"i,j\nk\nl,m\nGr\xfc\xdfe,x\n'

    records = read(tmp_path, "a.csv", text.encode("latin-1"))

    assert [(record.row, record.error) for record in records] == [
        ("a.csv:3", ""),
        ("a.csv:6", "ExtraField"),
        ("a.csv:7", "BrokenCsv"),
        ("a.csv:8", "MissingField"),
        ("a.csv:9", ""),
        ("a.csv:10", "NotUtf8"),
    ]


@pytest.mark.parametrize("blank", ["\n", "  \r\n", ",,\n", ";;\n\n"])
def test_the_header_shows_the_separator_and_not_an_empty_line_before_it(tmp_path: Path, blank: str) -> None:
    (record,) = read(tmp_path, "a.csv", (blank + "question;answer\na, b;c\n").encode())

    assert record.value == {"question": "a, b", "answer": "c"}
    assert record.row == f"a.csv:{2 + blank.count(chr(10))}"


def test_bad_lines_and_elements_cost_themselves_alone(tmp_path: Path) -> None:
    lines = read(tmp_path, "a.jsonl", b'{"a": 1}\n\n{"a": \n\xff\xfe\n' + b"[" * 100_000 + b'\n["a"]\n')
    elements = read(tmp_path, "a.json", b'[{"a": "\xff"},\n 3,\n\n {"a": [\n1]}]\n')

    assert [(record.row, record.error) for record in lines] == [
        ("a.jsonl:1", ""),
        ("a.jsonl:3", "BrokenJson"),
        ("a.jsonl:4", "NotUtf8"),
        ("a.jsonl:5", "BrokenJson"),
        ("a.jsonl:6", ""),
    ]
    assert [(record.row, record.error, record.value) for record in elements] == [
        ("a.json:1", "NotUtf8", None),
        ("a.json:2", "", 3),
        ("a.json:4", "", {"a": [1]}),
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b'[{"a": 1},\n{"a": }]', "a.json, line 2: not valid JSON"),
        ("a.json", b'[{"a": 1}\n{"a": 2}]', "a.json, line 2: not valid JSON"),
        ("a.json", b'[{"a": 1},\n]', "a.json, line 1: not valid JSON"),
        ("a.json", b'[{"a": 1}', "a.json, line 1: not valid JSON"),
        ("a.json", b'[{"a": 1}]\n{"a": 2}\n', "a.json, line 2: not valid JSON"),
        ("a.csv", b'a,b\n1,2\n3,"4\n5,6\n', "a.csv, line 3: a quotation mark is opened and never closed"),
        (
            "a.csv",
            b'a,b\n1,2\n3,"4\n5,6\n7,"8"\n9,10\n',
            "a.csv, line 3: the quotation marks from here to line 5 do not match",
        ),
        ("a.csv", "Frage,Gr\xf6\xdfe\n1,2\n".encode("latin-1"), "a.csv, line 1: the header is not UTF-8 text"),
        ("a.csv", b"a,A,b,a\n", "a.csv, line 1: two columns have the same name"),
        ("a.xlsx", workbook([["text", "Text "], ["a", "b"]]), "a.xlsx:Sheet 1!A1: two columns have the same name"),
        ("a.xlsx", b"PK\x03\x04 and nothing", "a.xlsx is no Excel workbook that can be read"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 99, "a.xls is a workbook of an old or a protected kind"),
        ("a.parquet", columnar(ROWS)[:-9], "a.parquet is damaged after row 0"),
        ("a.parquet", twice_named(), "a.parquet: two columns have the same name"),
        ("a.jsonl.gz", gzip.compress(json_lines())[:-9], "a.jsonl.gz is damaged and cannot be unpacked"),
        ("a.jsonl.gz", gzip.compress(b"x" * 999)[:12] + b"x" * 99, "a.jsonl.gz is damaged and cannot be unpacked"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd and nothing", "a.jsonl.zst is damaged and cannot be unpacked"),
        ("a.gz.gz", gzip.compress(gzip.compress(b"{}")), "a.gz.gz is compressed twice"),
        ("a.jsonl", b"\xff\xfe\x00\xd8", "a.jsonl is broken UTF-16 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    assert refusal(tmp_path, name, data).message == message


def far_cell(column: int = 16_383) -> bytes:
    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True}) as book:
        sheet = book.add_worksheet("Sheet 1")
        sheet.write_row(0, 0, ["prompt", "completion"])
        sheet.write_row(1, 0, ["a", "b"])
        sheet.write(1_048_575, column, " ")
    return data.getvalue()


def test_a_cell_far_away_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    error = refusal(tmp_path, "a.xlsx", far_cell())

    assert error.message == "a.xlsx: a sheet reaches from A1 to XFD1048576, which are too many cells"
    assert len(read(tmp_path, "a.xlsx", far_cell(column=0))) == 1


def test_what_is_read_as_a_whole_is_smaller() -> None:
    assert read_whole(io.BytesIO(b"abc"), "a", limit=3) == b"abc"
    with pytest.raises(StageError, match="a is too large to be read as a whole"):
        read_whole(io.BytesIO(b"abcd"), "a", limit=3)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x" * 5_000_000))

    with pytest.raises(StageError, match=r"a\.gz is too large"), open_plain(path, "a.gz", limit=2_000_000) as stream:
        stream.read()
