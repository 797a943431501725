"""What the evaluation leaves: one JSON document, a page, a sheet to review and the rows to write next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import EvaluateSummary, GateConfig, summary_to_dict
from vernacular_trainer.data.checks.terms import says
from vernacular_trainer.data.files import write_bytes, write_json
from vernacular_trainer.data.glossary import Glossary, Term
from vernacular_trainer.data.html import render
from vernacular_trainer.data.questions import Question, pieces
from vernacular_trainer.data.rows import normalised
from vernacular_trainer.data.split import provable_points
from vernacular_trainer.evaluation.answers import Answers, BaseExam
from vernacular_trainer.evaluation.consistency import agreeing
from vernacular_trainer.evaluation.embeddings import Similarity
from vernacular_trainer.evaluation.general_questions import general_questions
from vernacular_trainer.evaluation.groups import Group
from vernacular_trainer.evaluation.judging import Opinion, Preference
from vernacular_trainer.evaluation.lessons import Lesson
from vernacular_trainer.evaluation.measures import nearness
from vernacular_trainer.evaluation.scoring import Score, Scored
from vernacular_trainer.evaluation.sheets import row_digests, write_collect_next, write_review_sheet
from vernacular_trainer.evaluation.topics import by_topic
from vernacular_trainer.evaluation.verdict import Evidence
from vernacular_trainer.workspace import Workspace

_PAGE = Path(__file__).with_name("report.html")
_DIGITS = 4
_ABSENT: dict[str, Any] = {
    "lineage": None,
    "judge": None,
    "embeddings": None,
    "failures": [],
    "serving": None,
    "notice": "",
    "text_in_reports": "",
}


@dataclass(frozen=True)
class Results:
    """Everything that is known after both models were asked."""

    evidence: Evidence
    base: BaseExam
    tuned: Answers
    lessons: tuple[Lesson, ...]
    glossary: Glossary = field(default_factory=Glossary)
    gate: GateConfig = field(default_factory=GateConfig)
    opinion: Opinion | None = None
    similarity: Similarity | None = None
    groups: tuple[Group, ...] = ()


def write_documents(workspace: Workspace, summary: EvaluateSummary, results: Results | None) -> None:
    """Write everything into the workspace's reports; without results, nothing was asked."""
    document = {**summary_to_dict(summary), **(_details(results) if results else {"questions": [], "lessons": []})}
    write_report(workspace, document)
    write_sheets(workspace, document)


def write_report(workspace: Workspace, document: dict[str, Any]) -> None:
    """Write the report as JSON and as a page."""
    write_json(workspace.evaluation_report, document)
    write_bytes(workspace.evaluation_page, page(document).encode())


def write_sheets(workspace: Workspace, document: dict[str, Any]) -> None:
    """Write what people fill in; what there is nothing for is not there."""
    write_review_sheet(workspace.review_sheet, document["questions"])
    write_collect_next(workspace.collect_next, workspace.collect_next_sheet, document["lessons"])


def page(document: dict[str, Any]) -> str:
    """The report as HTML that needs nothing else; all texts are escaped."""
    return render(_PAGE, report={**_ABSENT, **document})


def _details(results: Results) -> dict[str, Any]:
    evidence, base, tuned, similarity = results.evidence, results.base, results.tuned, results.similarity
    questions = evidence.questions
    asked_with_rows = dict(zip(base.sampled, base.with_rows, strict=True))
    scored_with_rows = dict(zip(base.sampled, evidence.prompted.scores, strict=True)) if evidence.prompted else {}
    entries = []
    for index, question in enumerate(questions):
        entry = _question(question)
        entry["base"] = _answer(question, base.answers, index, evidence.base[index])
        entry["tuned"] = _answer(question, tuned, index, evidence.tuned[index])
        entry["same_answer"] = normalised(base.answers.texts[index]) == normalised(tuned.texts[index])
        if index in asked_with_rows:
            scored = scored_with_rows[index]
            entry["prompted"] = {"answer": asked_with_rows[index], "score": scored.score, "invented": scored.invented}
        if similarity:
            entry["base"]["similarity"] = _rounded(similarity.base[index])
            entry["tuned"]["similarity"] = _rounded(similarity.tuned[index])
        if results.opinion and index in results.opinion.preferences:
            entry["judge"] = results.opinion.preferences[index]
        entries.append(entry)
    for entry, digest in zip(entries, row_digests(entries), strict=True):
        entry["row_digest"] = digest
    return {
        "questions": entries,
        "gate": asdict(results.gate),
        "rows_in_prompt": evidence.prompted.rows if evidence.prompted else 0,
        "measures": {model: _measures(entries, model, with_similarity=bool(similarity)) for model in ("base", "tuned")},
        "judge": _judge(results),
        "embeddings": {"model": similarity.model, "trouble": similarity.trouble} if similarity else None,
        "consistency": _consistency(evidence),
        "general": _general(results),
        "glossary": _glossary(results),
        "latency": dict(zip(("with_rows", "without"), map(_rounded, base.seconds_per_request), strict=True)),
        "topics": [_topic(topic) for topic in by_topic(questions, evidence.base, evidence.tuned)],
        "provable_points": provable_points(pieces(questions)),
        "failures": [_group(group) for group in results.groups],
        "lessons": [_lesson(lesson) for lesson in results.lessons],
    }


def _question(question: Question) -> dict[str, Any]:
    return {
        "row": question.row,
        "phrasing": question.phrasing,
        "digest": question.digest,
        "unit": question.unit,
        "topic": question.topic,
        "answerable": question.answerable,
        "messages": [message.to_dict() for message in question.messages],
        "expected": question.expected,
    }


def _answer(question: Question, answers: Answers, index: int, scored: Scored) -> dict[str, Any]:
    near = asdict(nearness(question.expected, answers.texts[index])) if question.expected else {}
    return {
        "answer": answers.texts[index],
        "score": scored.score,
        "invented": scored.invented,
        "log_likelihood": _rounded(answers.log_likelihoods[index]),
        **{name: _rounded(value) for name, value in near.items()},
    }


def _measures(entries: Sequence[dict[str, Any]], model: str, *, with_similarity: bool) -> dict[str, float | None]:
    """Means over the questions that expect a text; perplexity is that of the expected answers."""
    answers = [entry[model] for entry in entries if entry["expected"]]
    names = ("exact", "f1", "rouge_l", *(["similarity"] if with_similarity else []))
    means = {name: _mean([answer[name] for answer in answers]) for name in names}
    likelihood = _mean([answer["log_likelihood"] for answer in answers])
    return {**means, "perplexity": None if likelihood is None else _rounded(math.exp(min(-likelihood, 700.0)))}


def _mean(values: Sequence[float | None]) -> float | None:
    """None when there is nothing, or something is not known."""
    known = [float(value) for value in values if value is not None]
    return _rounded(sum(known) / len(known)) if known and len(known) == len(values) else None


def _judge(results: Results) -> dict[str, Any] | None:
    if (opinion := results.opinion) is None:
        return None
    points = opinion.points(results.evidence.questions)
    return {
        "model": opinion.model,
        "trouble": opinion.trouble,
        **{preference: opinion.count(preference) for preference in Preference},
        "points": {name: round(getattr(points, name)) for name in ("value", "low", "high")},
    }


def _consistency(evidence: Evidence) -> dict[str, int]:
    base, several = agreeing(evidence.questions, evidence.base)
    return {"questions": several, "base": base, "tuned": agreeing(evidence.questions, evidence.tuned)[0]}


def _general(results: Results) -> dict[str, int]:
    base, tuned = results.base.answers.general, results.tuned.general
    return {
        "asked": len(tuned),
        "of": len(general_questions()),
        "base": sum(base),
        "tuned": sum(tuned),
        "forgotten": sum(before and not after for before, after in zip(base, tuned, strict=True)),
    }


def _glossary(results: Results) -> dict[str, Any]:
    """Counts for each model, and what each makes of each term. `forbidden`: answers to the job's questions that say
    what a term forbids.
    """
    base, tuned, terms = results.base.answers, results.tuned, results.glossary.terms
    pairs = zip(terms, base.terms, tuned.terms, strict=True)
    listed = [
        {"term": term.term, "definition": term.definition, "base": asdict(left), "tuned": asdict(right)}
        for term, left, right in pairs
    ]
    return {"base": _term_counts(base, terms), "tuned": _term_counts(tuned, terms), "terms": listed}


def _term_counts(answers: Answers, terms: Sequence[Term]) -> dict[str, int]:
    forbidden = [phrase for term in terms for phrase in term.never_say]
    two_meanings = [item for item in answers.terms if item.used is not None]
    return {
        "asked": len(answers.terms),
        "right": sum(item.score is Score.CORRECT for item in answers.terms),
        "two_meanings": len(two_meanings),
        "used": sum(bool(item.used) for item in two_meanings),
        "expanded": sum(bool(item.expanded) for item in two_meanings),
        "forbidden": sum(says(text, forbidden) for text in answers.texts),
    }


def _topic(topic: Any) -> dict[str, Any]:
    return {
        "name": topic.name,
        "asked": topic.asked,
        "base": topic.base_correct,
        "tuned": topic.tuned_correct,
        "gain": {name: round(getattr(topic.gain, name)) for name in ("value", "low", "high")},
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "by": group.by,
        "name": group.name,
        "asked": group.asked,
        "failed": group.failed,
        "lacks": group.lacks,
        "advice": group.advice,
        "nearest": [asdict(row) for row in group.nearest],
    }


def _lesson(lesson: Lesson) -> dict[str, Any]:
    return {
        "why": lesson.why,
        "advice": lesson.advice,
        "topic": lesson.question.topic,
        "row": lesson.question.row,
        "phrasing": lesson.question.phrasing,
        "asked": lesson.question.asked,
        "expected": lesson.question.expected,
        "digest": lesson.question.digest,
        "nearest": [asdict(row) for row in lesson.nearest],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), _DIGITS)
