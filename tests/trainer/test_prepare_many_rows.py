"""Many rows: found is the same with other processes and from disk as by looking at all rows in the plainest way."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.tiny_model import build_tiny_tokenizer
from vernacular_trainer.contract import DatasetConfig, StageFailure
from vernacular_trainer.data import row_store, token_store
from vernacular_trainer.data.chat import NOT_TRAINED, encode, encode_all, load_tokenizer
from vernacular_trainer.data.checks.contradictions import asked_twice
from vernacular_trainer.data.checks.duplicates import NEAR, compared, exact_duplicates, nearly_same
from vernacular_trainer.data.checks.keys import NO_KEY, first_of_kind, key, keys_of
from vernacular_trainer.data.checks.personal_data import kinds_in, masked
from vernacular_trainer.data.checks.similarity import band_keys
from vernacular_trainer.data.checks.traits import traits_of
from vernacular_trainer.data.checks.words import content_key, shingles, similarity
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.report import sample_texts
from vernacular_trainer.data.review import review
from vernacular_trainer.data.row_store import RowStore, pack
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.data.similar_rows import similar_rows
from vernacular_trainer.data.sources import check_sources
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.data.tokenising import Encoder, encoded
from vernacular_trainer.data.workers import INLINE, Workers, process_count
from vernacular_trainer.errors import StageError

WORDS = [*"abcdefghij", "90", "the", "ann@example.com", "4111 1111 1111 1111", "Grüße", "GrÃ¼", "<p>x</p>", "日本"]
TEXT = st.lists(st.sampled_from([*WORDS, "\n", "  ", "A"]), max_size=6).map(" ".join)
TOOLS = st.sampled_from([(), ({"name": "f", "limit": 2**70, "rate": float("inf")},)])
MESSAGES = st.tuples(
    st.lists(st.builds(Message, st.sampled_from(["system", "user", "tool"]), TEXT), max_size=2),
    st.builds(Message, st.just("assistant"), TEXT, st.sampled_from([0, 1]), TOOLS),
).map(lambda parts: (*parts[0], parts[1]))
ROW = st.builds(
    Conversation,
    st.just("a:1"),
    MESSAGES,
    TOOLS,
    st.booleans(),
    st.none() | st.builds(Message, st.just("assistant"), TEXT),
)
ROWS = st.lists(ROW, max_size=25)


def store(rows: list[Conversation]) -> RowStore:
    """In several blocks."""
    return RowStore.of(pack(rows[begin : begin + 4]) for begin in range(0, len(rows), 4))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, inline=0) as both:
        yield both


@given(ROWS)
def test_rows_come_back_from_disk_as_they_were(rows: list[Conversation]) -> None:
    kept = store(rows)

    assert list(kept) == rows
    assert [kept[index] for index in range(len(rows))] == rows
    assert list(kept[1:]) == rows[1:]
    assert list(kept.select(range(0, len(rows), 2)).select([])) == []
    assert list(kept.select(range(0, len(rows), 2))) == rows[::2]


def test_rows_that_are_too_many_for_the_memory_are_read_in_blocks() -> None:
    rows = [Conversation(f"a:{i}", (Message("assistant", f"{i} " + "x" * 50_000),), plain=True) for i in range(1000)]

    kept = store(rows)

    assert max(len(block.data) for block in kept.blocks()) < 600_000
    assert [row.row for row in kept] == [row.row for row in rows]
    assert kept[999] == rows[999]


@given(ROWS)
def test_traits_are_equal_where_the_texts_are(rows: list[Conversation]) -> None:
    traits = traits_of(rows)

    first: dict[str, int] = {}
    repeats = {i: first[row.digest] for i, row in enumerate(rows) if first.setdefault(row.digest, i) != i}
    seen: dict[tuple[str, ...], int] = {}
    asked = [
        (seen[question], i)
        for i, row in enumerate(rows)
        if row.asked and not (row.plain or row.rejected)
        for question in [(row.system, *content_key(row.asked))]
        if seen.setdefault(question, i) != i and rows[seen[question]].answer != row.answer
    ]
    assert exact_duplicates(traits.same) == repeats
    assert [tuple(pair) for pair in asked_twice(traits).tolist()] == asked
    assert Counter(first_of_kind(traits.answers).tolist()).total() == len(rows)
    for (i, one), (j, other) in itertools.combinations(enumerate(rows), 2):
        assert (traits.answers[i].tobytes() == traits.answers[j].tobytes()) == (one.answer == other.answer)
    assert traits.lengths.tolist() == [len(row.messages[-1].content) for row in rows]


def test_what_has_no_key_equals_nothing() -> None:
    keys = keys_of([NO_KEY, key("a"), NO_KEY, key("a"), key("")])

    assert first_of_kind(keys).tolist() == [0, 1, 2, 1, 4]


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_similar_rows_are_those_that_comparing_all_with_all_finds(rows: list[Conversation]) -> None:
    texts = [compared(row) for row in rows]
    found = similar_rows(store(rows), INLINE)

    close = {
        (i, j)
        for i, j in itertools.combinations(range(len(rows)), 2)
        if shingles(texts[i]) and similarity(shingles(texts[i]), shingles(texts[j])) >= NEAR
    }
    assert set(found.pairs) <= close
    # of many that are alike, enough are paired to join them
    assert {frozenset(group) for group in groups(len(rows), found.pairs)} == {
        frozenset(group) for group in groups(len(rows), close)
    }
    for later, earlier in found.near.items():
        assert earlier < later
        assert nearly_same(rows[earlier], rows[later])


def groups(count: int, pairs: Any) -> list[set[int]]:
    found = [{index} for index in range(count)]
    for left, right in pairs:
        one, other = (next(group for group in found if index in group) for index in (left, right))
        if one is not other:
            found.remove(other)
            one |= other
    return found


def nasty_file(path: Path, count: int) -> None:
    """Rows that repeat, contradict and resemble each other, with personal data, bad lines and tools."""
    choose = random.Random(count)
    rows: list[Any] = []
    lines = [b'{"text": "the first"}']
    for _ in range(count):
        if rows and choose.random() < 0.4:
            row = json.loads(json.dumps(choose.choice(rows)))
            row["messages"][-1]["content"] += choose.choice(["", "", " more", " 7"])
        else:
            texts = [" ".join(choose.choices(WORDS, k=choose.randint(1, 9))) for _ in range(2)]
            row = {"messages": [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]}
        rows.append(row)
        bad = [b"{", b"\xff", b"", b'{"prompt": "a", "completion": " "}', b'{"x": 1}']
        lines.append(choose.choice(bad) if choose.random() < 0.05 else json.dumps(row).encode())
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("policy", ["Report", "DropNear"])
def test_processes_find_what_one_process_finds(tmp_path: Path, workers: Workers, policy: str) -> None:
    nasty_file(tmp_path / "rows", 4000)
    config = DatasetConfig((), duplicates=policy, personal_data="Redact" if policy == "DropNear" else "Report")

    one, other = (everything(tmp_path / "rows", config, each) for each in (INLINE, workers))

    assert {code for code, _ in one["problems"]} > {"BrokenJson", "NotUtf8", "Duplicate", "NearDuplicate", "Mojibake"}
    assert one == other


def everything(path: Path, config: DatasetConfig, workers: Workers) -> dict[str, Any]:
    problems = ProblemLog()
    checked = check_sources((InputCopy("a.jsonl", path, "", 0),), config, problems, workers=workers)
    reviewed = review(checked.conversations, config, (), problems, workers)
    return {
        "rows": list(reviewed.conversations),
        "read": (checked.read, checked.origins, checked.unused_columns),
        "similar": reviewed.similar,
        "samples": sample_texts(reviewed.samples),
        "problems": [(problem.code, problem) for problem in problems.problems()],
        "rejected": problems.rejected,
        "split": split_rows(reviewed.conversations, reviewed.similar, 20, "Facts", 1, workers),
    }


def test_rows_before_a_place_where_a_file_breaks_are_told(tmp_path: Path, workers: Workers) -> None:
    lines = [b"question,answer", *(b"a,b" if i % 10 else b"a,b,c" for i in range(5000)), b'"never closed,b']
    (tmp_path / "rows").write_bytes(b"\n".join(lines))
    problems = ProblemLog()

    with pytest.raises(StageError) as caught:
        check_sources((InputCopy("a.csv", tmp_path / "rows", "", 0),), DatasetConfig(()), problems, workers=workers)

    assert caught.value.code is StageFailure.DATASET_UNREADABLE
    assert problems.count("ExtraField") == 500


@pytest.mark.parametrize(
    ("cores", "memory", "processes"), [(2, None, 2), (2, 2**32, 2), (64, 2**32, 4), (8, 2**28, 1), (1, 2**40, 1)]
)
def test_each_process_has_a_processor_and_its_part_of_the_memory(
    cores: int, memory: int | None, processes: int
) -> None:
    assert process_count(cores, memory) == processes


def test_rows_lie_beside_the_copies_and_leave_nothing(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nasty_file(tmp_path / "rows", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "of no use"))
    for module in (row_store, token_store):
        monkeypatch.setattr(module, "_IN_MEMORY", 1)
    config, problems = DatasetConfig((), personal_data="Redact"), ProblemLog()

    checked = check_sources((InputCopy("a.jsonl", tmp_path / "rows", "", 0),), config, problems)
    reviewed = review(checked.conversations, config, (), problems)
    encoder = Encoder(tokenizer, tmp_path, "tiny", everything=True)
    tokens, _ = encoded(encoder, reviewed.conversations, problems, INLINE)

    assert len(tokens) == len(list(reviewed.conversations)) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def killed(_: int) -> None:
    """As the kernel ends a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told_as_lack_of_memory() -> None:
    with Workers(2, inline=0) as both, pytest.raises(StageError) as caught:
        list(both.map(killed, range(20)))

    assert caught.value.code is StageFailure.HOST_OUT_OF_MEMORY
    assert "more memory" in caught.value.advice


def threads_for(count: int) -> int:
    """Threads that this process has when it has compared as many texts, and multiplied."""
    band_keys([f"one text of many words {index}" for index in range(count)])
    np.ones((500, 500)) @ np.ones((500, 500))
    return len(list(Path("/proc/self/task").iterdir()))


def test_libraries_start_no_crowd_of_threads_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "8")

    with Workers(2, inline=0) as both:
        most = max(both.map(threads_for, [1000] * 4))

    assert most <= 4


def refuse(_: int) -> None:
    raise StageError(StageFailure.DATASET_UNREADABLE, "what happened", "what to do", "where")


def test_what_another_process_refuses_is_told_as_it_is(workers: Workers) -> None:
    with pytest.raises(StageError) as caught:
        list(workers.map(refuse, range(3)))

    error = caught.value
    assert error.code is StageFailure.DATASET_UNREADABLE
    assert (error.message, error.advice, error.evidence) == ("what happened", "what to do", "where")


def test_no_rows_are_no_error() -> None:
    reviewed = review([], DatasetConfig(()), (), ProblemLog())

    assert list(reviewed.conversations) == []
    assert split_rows([], (), 10, "Facts", 1).train == ()


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from vernacular_trainer.data.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(2, inline=0)\n"
        "    print(*workers.map(abs, range(50)), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2

    process.send_signal(signal.SIGKILL)
    process.wait()

    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        os.sched_yield()  # nobody tells of the end of another's child


LETTERS = st.sampled_from([*"ab \n", "é", "🙂", "\u0301", "notice", "<|im_end|>", "  ", "日"])
SAID = st.lists(LETTERS, max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(build_tiny_tokenizer(tmp_path_factory.mktemp("tiny")), "tiny")


@settings(deadline=None)
@given(turns=st.lists(st.tuples(SAID, SAID, st.sampled_from([0, 1])), min_size=1, max_size=3), last=SAID)
def test_trained_is_every_token_that_overlaps_an_answer(tokenizer: Any, turns: Any, last: str) -> None:
    messages = [
        message
        for question, answer, weight in [*turns, ("why", last, 1)]
        for message in (Message("user", question), Message("assistant", answer, weight))
    ]

    (row,) = encode(tokenizer, Conversation("a:1", tuple(messages)))

    text, spans = "", []
    for message in messages:
        text += f"<|im_start|>{message.role}\n"
        said = f"{message.content}<|im_end|>\n"
        if message.trained:
            spans.append((len(text), len(text) + len(said.rstrip())))
        text += said
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert list(row.input_ids) == whole["input_ids"]
    assert list(row.labels) == [
        token if any(right > start and left < end for start, end in spans) else NOT_TRAINED
        for token, (left, right) in zip(whole["input_ids"], whole["offset_mapping"], strict=True)
    ]


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_many_conversations_are_tokenised_as_each_by_itself(tokenizer: Any, rows: list[Conversation]) -> None:
    def alone(row: Conversation) -> Any:
        try:
            return encode(tokenizer, row)
        except RowError as error:
            return error.code

    together = encode_all(tokenizer, rows)

    assert [item.code if isinstance(item, RowError) else item for item in together] == [alone(row) for row in rows]


def test_processes_tokenise_as_one_process_does(tmp_path: Path, workers: Workers) -> None:
    folder = build_tiny_tokenizer(tmp_path / "tiny")
    encoder = Encoder(load_tokenizer(folder, "tiny"), folder, "tiny", everything=False)
    rows = [Conversation(f"a:{i}", (Message("user", f"q {i}"), Message("assistant", f"a {i}"))) for i in range(300)]
    rows[7] = Conversation("a:7", (Message("assistant", "nobody asked"),))

    results = []
    for each in (INLINE, workers):
        problems = ProblemLog()
        tokens, counts = encoded(encoder, store(rows), problems, each)
        assert [(item.row, item.code) for item in problems.rejected] == [("a:7", "TemplateRefused")]
        assert counts.tolist() == [int(i != 7) for i in range(300)]
        results.append([(place, ids.tolist(), labels.tolist()) for place, ids, labels in tokens])

    assert results[0] == results[1]
    assert np.mean([len(ids) for _, ids, _ in results[0]]) > 5


@given(st.lists(st.sampled_from([*"0123456789 -+().@AZx_:/", "DE89", "+49 30 ", "4111 ", "sk-", "eyJ"]), max_size=40))
def test_a_text_that_is_masked_shows_no_more(parts: list[str]) -> None:
    text = "".join(parts)

    assert (masked(text) == text) == (not kinds_in(text))
