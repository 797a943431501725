"""The corpus of bad files, each with the expected code and place; and files that nobody thought of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bad_files import BAD_LINES, BAD_ROWS, GOOD, OTHER, BadFile, corpus
from vernacular_trainer.contract import DatasetConfig, StageFailure
from vernacular_trainer.data.exports import write_clean_rows
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.report import page, sample_texts
from vernacular_trainer.data.review import Reviewed, review
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.sources import Checked, check_sources
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.errors import StageError

CORPUS = list(corpus())
SIZE_OF_SET = {"FewRows"}


def check(path: Path, name: str, data: bytes, **config: Any) -> tuple[Checked, Reviewed, ProblemLog]:
    """Everything that prepare does with a file before the model is needed; nothing may get lost on the way."""
    path.write_bytes(data)
    problems = ProblemLog()
    checked, reviewed = check_file(path, name, problems, **config)
    return checked, reviewed, problems


def check_file(path: Path, name: str, problems: ProblemLog, **config: Any) -> tuple[Checked, Reviewed]:
    dataset = DatasetConfig((), **config)
    checked = check_sources((InputCopy(name, path, "sha256:", 0),), dataset, problems)
    assert checked.rows == len(checked.conversations) + len(problems.rejected)
    reviewed = review(checked.conversations, dataset, (), problems)
    assert checked.rows == len(reviewed.conversations) + len(problems.rejected)
    return checked, reviewed


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 150
    assert {code for bad in CORPUS for code, _ in bad.finds} >= {
        code for code, finding in FINDINGS.items() if finding.severity == "Error"
    } - {"TemplateRefused", "ToolsIgnored", "PreferenceMissing"}  # these need a model, or another objective


@pytest.mark.parametrize("bad", CORPUS, ids=lambda bad: f"{bad.name}-{bad.finds[0][0] if bad.finds else 'refused'}")
def test_each_bad_file_is_told_with_code_and_place(tmp_path: Path, bad: BadFile) -> None:
    if bad.refused:
        with pytest.raises(StageError) as caught:
            check(tmp_path / "file", bad.name, bad.data)
        assert caught.value.message.startswith(bad.refused)
        assert caught.value.code in (StageFailure.DATASET_UNREADABLE, StageFailure.DATASET_TOO_SMALL)
        return

    _, _, problems = check(tmp_path / "file", bad.name, bad.data)

    found = [(p.code, place) for p in problems.problems() if p.code not in SIZE_OF_SET for place in p.first_rows]
    assert found == list(bad.finds)


FILE_NAMES = st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.xlsx", "a.parquet", "a.jsonl.gz", "a"])
BEGINNINGS = st.sampled_from(
    [
        *(
            b"",
            b"[{",
            b"[",
            b'{"prompt": "',
            b"question,answer\n",
            b'question;answer\n"a";',
            b"\xef\xbb\xbf",
            b"\xff\xfe",
        ),
        *(b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["messages", "prompt", "completion", "question", "answer", "text", "conversations", "tools", "system", "output"]
)
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "weight", "tool_calls", "name", "tool_call_id", "from", "value"]),
    st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", 0, 1]) | JSON,
    max_size=4,
)
TEXT = st.text(max_size=30)
CHAT = st.builds(
    lambda turns: {"messages": [{"role": r, "content": t} for r, t in [*turns, ("assistant", "yes, 7 days")]]},
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=4),
)
ROWS = st.lists(
    st.dictionaries(KEYS, TEXT | st.lists(MESSAGE, max_size=4) | JSON, max_size=4)
    | CHAT
    | st.builds(lambda a, b: {"prompt": a, "completion": b}, TEXT, TEXT)
    | JSON,
    max_size=12,
)
POLICIES = st.sampled_from(["Report", "DropExact", "DropNear"])
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(name=FILE_NAMES, start=BEGINNINGS, data=st.binary(max_size=400), packed=st.booleans())
def test_no_bytes_are_a_crash_or_a_wrong_line(
    tmp_path: Path, name: str, start: bytes, data: bytes, packed: bool
) -> None:
    content = start + data
    problems = ProblemLog()
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    refused = None
    try:
        check_file(tmp_path / "file", name, problems)
    except StageError as error:
        refused = error

    if refused:
        assert refused.code in (StageFailure.DATASET_UNREADABLE, StageFailure.DATASET_TOO_SMALL)
        assert refused.advice
    if not content.startswith((b"\xff\xfe", b"\x1f\x8b", b"PAR1", b"\x28\xb5\x2f\xfd")):
        numbers = [int(item.row.rpartition(":")[2]) for item in problems.rejected]
        assert numbers == sorted(numbers)
        assert all(1 <= number <= content.count(b"\n") + 1 for number in numbers)


@FUZZ
@given(rows=ROWS, policy=POLICIES, teaches=st.sampled_from(["Facts", "Skill"]))
def test_no_structure_is_a_crash_or_a_silent_loss(tmp_path: Path, rows: list[Any], policy: str, teaches: str) -> None:
    rows = [{"text": "the first row"}, *rows]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    checked, reviewed, problems = check(
        tmp_path / "file", "a.jsonl", data, duplicates=policy, personal_data="Redact", system_prompt="Be brief."
    )

    assert checked.rows == len(rows)
    assert {item.row for item in problems.rejected} | {row.row for row in reviewed.conversations} == {
        f"a.jsonl:{number}" for number in range(1, len(rows) + 1)
    }
    split = split_rows(reviewed.conversations, reviewed.similar, 20, teaches, 1)
    assert sorted([*split.train, *split.validation]) == list(range(len(reviewed.conversations)))
    page({"problems": [vars(problem) for problem in problems.problems()], "samples": sample_texts(reviewed.samples)})
    _read_back(tmp_path, reviewed.conversations)


def _read_back(tmp_path: Path, rows: tuple[Conversation, ...]) -> None:
    """The clean rows are rows without errors that say the same."""
    if rows:
        write_clean_rows(tmp_path / "clean.jsonl", rows)
        again, _, _ = check(tmp_path / "file", "a.jsonl", (tmp_path / "clean.jsonl").read_bytes())
        assert [row.messages for row in again.conversations] == [row.messages for row in rows]
        assert [row.tools for row in again.conversations] == [row.tools for row in rows]


BAD = st.sampled_from([*(json.dumps(row).encode() for _, row in BAD_ROWS), *(line for _, line in BAD_LINES)])
CODES = {**{json.dumps(row).encode(): code for code, row in BAD_ROWS}, **{line: code for code, line in BAD_LINES}}
LINE = st.sampled_from([b"", b"  ", json.dumps(GOOD).encode(), json.dumps(OTHER, indent=None).encode()]) | BAD


@FUZZ
@given(lines=st.lists(LINE, min_size=1, max_size=30), ending=st.sampled_from([b"\n", b"\r\n"]), last=st.booleans())
def test_every_bad_line_among_others_is_found_at_its_number(
    tmp_path: Path, lines: list[bytes], ending: bytes, last: bool
) -> None:
    data = ending.join([b'{"text": "first"}', *lines]) + (ending if last else b"")

    _, _, problems = check(tmp_path / "file", "a.jsonl", data)

    expected = [(f"a.jsonl:{number}", CODES[line]) for number, line in enumerate(lines, start=2) if line in CODES]
    assert [(item.row, item.code) for item in problems.rejected] == expected
