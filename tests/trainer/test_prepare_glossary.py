"""The glossary: what is wrong in it, and what the rows say about its terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from vernacular_trainer.contract import EvaluationConfig, FileSource, StageFailure
from vernacular_trainer.data.checks.terms import cover, has_sense
from vernacular_trainer.data.glossary import Term, parse_glossary
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare

BENCH = Term(
    "bench", "time between two projects", ("bench time",), ("a long seat", "seat for several people"), ("fired",)
)


def row(question: str, answer: str) -> Conversation:
    return Conversation("r", (Message("user", question), Message("assistant", answer)))


def test_a_whole_glossary_and_the_smallest() -> None:
    text = """
    ask: Was bedeutet {term}?
    terms:
      - {term: bench, definition: time between two projects, synonyms: [bench time],
         wrongMeanings: [a long seat, seat for several people], neverSay: [fired]}
    """

    glossary = parse_glossary(text, "terms.yaml")

    assert glossary.terms == (BENCH,)
    assert glossary.question(BENCH) == "Was bedeutet bench?"
    assert glossary.question_outside(BENCH) == "In everyday language, outside of any company, what does bench mean?"
    assert parse_glossary("terms: [{term: a, definition: b}]", "t").terms == (Term("a", "b"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be an object with terms"),
        ("- a", "must be an object with terms"),
        ("words: []", "must be an object with terms"),
        ("terms: []", "terms must be a list of 1 to 1000 terms"),
        ("terms: {a: b}", "terms must be a list of 1 to 1000 terms"),
        ("terms: [a]", "term 1 must be an object with term, definition"),
        ("terms: [{term: a, definition: b}, {term: c, meaning: d}]", "term 2 must be an object with term, definition"),
        ("terms: [{term: a}]", "term 1: definition must be a text"),
        ("terms: [{term: no, definition: b}]", "term 1: term must be a text; put numbers, dates, yes and no"),
        ("terms: [{term: a, definition: ' '}]", "term 1: definition must be a text"),
        ("terms: [{term: a, definition: b, synonyms: c}]", "term 1: synonyms must be a list of texts"),
        ("terms: [{term: a, definition: b, neverSay: [1]}]", "term 1: neverSay must be a text"),
        ("terms: [{term: a, definition: b}, {term: A, definition: c}]", "term 2 is the same as term 1"),
        ("ask: what?\nterms: [{term: a, definition: b}]", "ask must be a question with {term} in it"),
        ("terms:\n  - {term: a,\n", "line 3"),
        ("terms:\n  - term: a\n    term: b\n    definition: c", "line 3: a key is written twice"),
        ("terms: !!python/object:os.system []", "line 1"),
        ("a: &a [*a]", "not valid YAML"),
        ("{" * 3000, "not valid YAML"),
        ("terms: \x00", "not valid YAML"),
        ('{"terms": [{"term": "x", "definition": "go \\ud83d\\ude80"}]}', "half of a character"),
        ('terms: [{term: !!bool "x", definition: b}]', "not valid YAML"),
        ('terms: [{term: !!int "", definition: b}]', "not valid YAML"),
    ],
)
def test_a_glossary_that_cannot_be_read_says_where_and_what_to_write(text: str, says: str) -> None:
    with pytest.raises(StageError) as caught:
        parse_glossary(text, "ConfigMap terms, key terms.yaml")

    assert caught.value.code is StageFailure.GLOSSARY_UNREADABLE
    assert says in str(caught.value)
    assert "ConfigMap terms, key terms.yaml" in str(caught.value)
    assert "definition" in caught.value.advice


def test_rows_are_counted_by_the_sense_in_which_they_use_a_term() -> None:
    rows = [
        row("What is bench?", "The time between two projects."),
        row("What is the Bench?", "It is a seat for several people."),
        row("How long may bench time last?", "Six weeks."),
        row("What are benches and benchmarks?", "Something else."),
        row("Who is on the bench?", "Those who are to be fired."),
    ]

    (found,) = cover([BENCH], rows)

    assert found.rows == (0, 1, 2, 4)
    # "bench time" is another name of it, but it stands in the question: the answer gives no sense
    assert found.company_sense == (0,)
    assert found.contradicting == (1, 4)
    assert cover([], rows) == ()
    assert cover([BENCH], [])[0].rows == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is the time between projects.", True),
        ("That is bench time", True),
        ("It is time.", False),
        ("I don't know what bench means.", False),
        ("", False),
    ],
)
def test_half_of_a_definition_gives_its_sense(text: str, expected: bool) -> None:
    assert has_sense(BENCH, text) is expected


def with_glossary(tmp_path: Path, model: Path, text: str) -> Any:
    path = tmp_path / "terms.yaml"
    path.write_text(text)
    train = write_lines(tmp_path / "train.jsonl", handbook_rows(40))
    source = FileSource("ConfigMap terms, key terms.yaml", str(path))
    return make_job(tmp_path, model, train, evaluation=EvaluationConfig(glossary=source))


def test_prepare_says_which_terms_the_rows_do_not_teach(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = with_glossary(
        tmp_path,
        tiny_model,
        """
        terms:
          - {term: leave, definition: days off, wrongMeanings: [the leave is 3 days]}
          - {term: bench, definition: time between two projects}
          - {term: number 7, definition: the seventh}
        """,
    )

    summary = prepare.run(config, workspace)

    problems = {problem.code: problem for problem in summary.problems}
    assert problems["TermNotTaught"].advice == "write rows that use: bench"
    assert problems["TermUnderCovered"].advice == "write more rows that use: number 7"
    assert problems["TermContradicted"].count == 2
    report = json.loads(workspace.data_report.read_text())
    leave, bench, seventh = report["glossary"]
    assert (leave["rows"], leave["contradicting"], bench["rows"], seventh["rows"]) == (40, 2, 0, 2)
    assert leave["tokens"] >= 1
    assert "bench" in workspace.data_page.read_text()
    assert workspace.glossary.exists()


def test_a_broken_glossary_ends_prepare(tmp_path: Path, tiny_model: Path) -> None:
    config, workspace = with_glossary(tmp_path, tiny_model, "terms: 7")

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is StageFailure.GLOSSARY_UNREADABLE
