"""What of the texts of a job may leave its volume: the border that everything passes which is published or reported.
Pure.

Texts are what a user wrote in rows, questions and glossary, and what a model answered. Codes, numbers, digests, places
of rows, and names of files and models are none. A text that no list here names is held back: what is new to a report
is not published by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vernacular_trainer.contract import EvaluateSummary, PrepareSummary, TextInReports
from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.findings import FINDINGS

# under these keys the reports hold nothing that is a text
_DATA = frozenset(
    {
        *("code", "row", "other_row", "digest", "problems", "plan", "plan_summary", "readiness", "inputs", "sources"),
        *("ignored_files", "model", "tracking"),
    }
)
_EVALUATION = frozenset(
    {
        *("row", "digest", "row_digest", "unit", "role", "score", "judge", "embeddings", "source", "why", "advice"),
        *("summary", "verdict", "gate_missed", "gate", "version", "by", "serving"),
    }
)
# names that a user gave so that they stand in reports: shown, with personal data masked
_LABELS = frozenset({"topic", "weak_topics", "unused_columns"})
_NAMED = frozenset({"topics", "failures"})
# findings whose advice names terms of the glossary
_NAMING_TERMS = frozenset({"TermNotTaught", "TermUnderCovered"})


def notice(texts: TextInReports) -> str:
    """What a reader of a report should know of its texts ("": nothing)."""
    where = "the whole reports are in the folder reports/ of the job's workspace volume"
    if texts is TextInReports.MASKED:
        return f"Personal data is masked, as tracking.textInReports: Masked asks for; {where}."
    if texts is TextInReports.NONE:
        sheets = "review.xlsx and collect-next.xlsx among them"
        return f"Questions, answers and rows are left out, as tracking.textInReports: None asks for; {where}, {sheets}."
    return ""


def released_data(report: Mapping[str, Any], texts: TextInReports) -> dict[str, Any]:
    """The data report as it may be published."""
    terms = _terms(report.get("glossary", []), texts)
    released: dict[str, Any] = _Border(texts, _DATA, terms).passed(dict(report))
    problems = [
        {**problem, "advice": _advice(problem["code"], problem["advice"], texts)}
        for problem in report.get("problems", [])
    ]
    return {**released, "problems": problems, "text_in_reports": texts, "notice": notice(texts)}


def released_evaluation(report: Mapping[str, Any], texts: TextInReports) -> dict[str, Any]:
    """The evaluation report as it may be published; what is left out of it is an empty text."""
    terms = _terms(report.get("glossary", {}).get("terms", []), texts)
    released: dict[str, Any] = _Border(texts, _EVALUATION, terms).passed(dict(report))
    return {**released, "text_in_reports": texts, "notice": notice(texts)}


def released_findings(summary: PrepareSummary, texts: TextInReports) -> PrepareSummary:
    """What prepare reports to the operator, for the status of the job."""
    problems = tuple(
        replace(problem, advice=_advice(problem.code, problem.advice, texts)) for problem in summary.problems
    )
    return replace(summary, problems=problems)


def released_verdict(summary: EvaluateSummary, texts: TextInReports) -> EvaluateSummary:
    """What evaluate reports to the operator, for the status of the job."""
    if texts is TextInReports.FULL:
        return summary
    return replace(summary, weak_topics=tuple(map(masked, summary.weak_topics)))


def _advice(code: str, advice: str, texts: TextInReports) -> str:
    if texts is TextInReports.FULL:
        return advice
    if texts is TextInReports.NONE and code in _NAMING_TERMS:
        return FINDINGS[code].advice
    return masked(advice)


def _terms(listed: list[dict[str, Any]], texts: TextInReports) -> dict[str, str]:
    """What each term of the glossary is called in reports."""
    names = [str(item["term"]) for item in listed]
    if texts is TextInReports.NONE:
        return {name: f"term {number}" for number, name in enumerate(names, start=1)}
    return {name: masked(name) if texts is TextInReports.MASKED else name for name in names}


@dataclass(frozen=True)
class _Border:
    """`plain`: keys below which nothing is a text; `terms`: what terms are called."""

    texts: TextInReports
    plain: frozenset[str]
    terms: Mapping[str, str] = field(default_factory=dict)

    def passed(self, value: Any, key: str = "") -> Any:
        """`value`, which stands under `key`, as it may be published."""
        if self.texts is TextInReports.FULL or key in self.plain:
            return value
        match value:
            case dict():
                return {name: self._item(value, name, key) for name in value}
            case list() | tuple():
                return [self.passed(item, key) for item in value]
            case str():
                return self._text(value, key)
            case _:
                return value

    def _item(self, item: Mapping[str, Any], name: str, key: str) -> Any:
        if name == "name" and key in _NAMED:
            return self._name(item[name], item.get("by", "topic"))
        return self.passed(item[name], name)

    def _name(self, name: str, kind: str) -> str:
        """Of a group of questions: a topic, a term, a length or a file."""
        return {"topic": masked, "term": self._term}.get(kind, str)(name)

    def _text(self, text: str, key: str) -> str:
        if key == "term":
            return self._term(text)
        if self.texts is TextInReports.MASKED or key in _LABELS:
            return masked(text)
        return ""

    def _term(self, term: str) -> str:
        return self.terms.get(term, "")
