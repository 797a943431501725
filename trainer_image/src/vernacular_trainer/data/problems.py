"""Findings in the data, collected over all rows: how many, where first, what to do; and which rows are left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from vernacular_trainer.contract import Problem
from vernacular_trainer.data.findings import FINDINGS, Severity
from vernacular_trainer.data.places import Places

FIRST_ROWS = 5


@dataclass(frozen=True)
class Rejected:
    """A row that is not used, and the code that says why."""

    row: str
    code: str


@dataclass
class ProblemLog:
    """Counts findings by code and keeps the places of the first few of each; `places` has those of all. `rejected`:
    every row that is left out, so that rows in are rows kept and rows rejected.
    """

    places: Places = field(default_factory=Places)
    rejected: list[Rejected] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, list[str]] = field(default_factory=dict)
    _advice: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, row: str, advice: str = "", other: str = "") -> None:
        """Note one finding at `row` ("train.jsonl:12", "" for one about all rows), and the place of the `other` row
        that it is about; the first `advice` that says more than the table is kept.
        """
        self.places.add(code, row, other)
        self._counts[code] = self._counts.get(code, 0) + 1
        self._advice.setdefault(code, advice or FINDINGS[code].advice)
        rows = self._rows.setdefault(code, [])
        if row and len(rows) < FIRST_ROWS:
            rows.append(f"{row} and {other}" if other else row)

    def reject(self, code: str, row: str, advice: str = "", other: str = "") -> None:
        """Note a finding, and that the row is left out for it."""
        self.add(code, row, advice, other)
        self.rejected.append(Rejected(row, code))

    def count(self, code: str) -> int:
        return self._counts.get(code, 0)

    def bad_rows(self) -> list[Rejected]:
        """The rows that are left out because they cannot be trained on."""
        return [item for item in self.rejected if FINDINGS[item.code].severity is Severity.ERROR]

    def problems(self) -> tuple[Problem, ...]:
        """All findings: errors first, then warnings, then what is good to know; within each as they first appeared."""
        rank = list(Severity)
        return tuple(
            Problem(code, count, tuple(self._rows[code]), self._advice[code], FINDINGS[code].severity)
            for code, count in sorted(self._counts.items(), key=lambda item: rank.index(FINDINGS[item[0]].severity))
        )
