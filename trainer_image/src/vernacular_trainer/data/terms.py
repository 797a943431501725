"""What the rows say about the terms of the glossary: findings, and a table for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vernacular_trainer.data.checks.terms import FEW_ROWS, Coverage
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.rows import Conversation

_NAMED = 5
_TERM_CHARACTERS = 60


def note_terms(coverage: Sequence[Coverage], rows: Sequence[Conversation], problems: ProblemLog) -> None:
    """Note terms that no row teaches, that few do, and rows that use one in another sense."""
    untaught = [item.term.term for item in coverage if not item.rows]
    few = [item.term.term for item in coverage if 0 < len(item.rows) < FEW_ROWS]
    for code, terms, advice in (
        ("TermNotTaught", untaught, "write rows that use"),
        ("TermUnderCovered", few, "write more rows that use"),
    ):
        for _ in terms:
            problems.add(code, "", f"{advice}: {_listed(terms)}")
    for item in coverage:
        for index in item.contradicting:
            problems.add("TermContradicted", rows[index].row)


def term_table(coverage: Sequence[Coverage], tokenizer: Any) -> list[dict[str, Any]]:
    """For each term how many rows use it, in which sense, and how many tokens it is for the model."""
    return [
        {
            "term": item.term.term,
            "rows": len(item.rows),
            "company_sense": len(item.company_sense),
            "contradicting": len(item.contradicting),
            "tokens": len(tokenizer(item.term.term, add_special_tokens=False)["input_ids"]),
        }
        for item in coverage
    ]


def _listed(terms: Sequence[str]) -> str:
    more = f" and {len(terms) - _NAMED} more" if len(terms) > _NAMED else ""
    return ", ".join(term[:_TERM_CHARACTERS] for term in terms[:_NAMED]) + more
