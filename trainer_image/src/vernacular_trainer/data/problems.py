"""Findings in the data, collected over all rows: how many, where first, what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from vernacular_trainer.contract import Problem
from vernacular_trainer.data.findings import FINDINGS

FIRST_ROWS = 5


@dataclass
class ProblemLog:
    """Counts findings by code and keeps the places of the first few of each."""

    _counts: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, list[str]] = field(default_factory=dict)
    _advice: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, row: str, advice: str = "") -> None:
        """Note one finding at `row` ("train.jsonl:12"); the first `advice` that says more than the table is kept."""
        self._counts[code] = self._counts.get(code, 0) + 1
        self._advice.setdefault(code, advice or FINDINGS[code].advice)
        rows = self._rows.setdefault(code, [])
        if len(rows) < FIRST_ROWS:
            rows.append(row)

    def count(self, code: str) -> int:
        return self._counts.get(code, 0)

    def problems(self) -> tuple[Problem, ...]:
        """All findings in the order in which their codes first appeared."""
        return tuple(
            Problem(code, count, tuple(self._rows[code]), self._advice[code]) for code, count in self._counts.items()
        )
