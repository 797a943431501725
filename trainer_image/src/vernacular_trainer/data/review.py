"""All checks over all readable rows: what they find goes to the log, what the job asks for is dropped or masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vernacular_trainer.contract import DatasetConfig, StageFailure
from vernacular_trainer.data.checks.answers import FEW_ROWS, answers_alike, length_outliers
from vernacular_trainer.data.checks.contradictions import contradictions
from vernacular_trainer.data.checks.duplicates import exact_duplicates, near_duplicates, similar_questions
from vernacular_trainer.data.checks.leakage import leaks
from vernacular_trainer.data.checks.personal_data import kinds_of, redacted, redacted_message
from vernacular_trainer.data.checks.similarity import among
from vernacular_trainer.data.checks.text import text_findings
from vernacular_trainer.data.checks.turns import out_of_order
from vernacular_trainer.data.formats import same_answers
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.reading.record import described
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.errors import StageError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """A finding that only its rows can explain: `row`, and the one that it is about beside it."""

    code: str
    row: Conversation
    other: Conversation


@dataclass(frozen=True)
class Reviewed:
    """The rows that are kept; pairs (earlier, later) of them that ask nearly the same; samples for the report; and how
    often which kind of personal data was found.
    """

    conversations: tuple[Conversation, ...]
    similar: tuple[Pair, ...]
    samples: tuple[Sample, ...]
    personal_data: dict[str, int]


def review(
    rows: Sequence[Conversation], config: DatasetConfig, questions: Sequence[Question], problems: ProblemLog
) -> Reviewed:
    """Check all rows. Raises StageError (DatasetPersonalData) after all rows were seen."""
    found = _personal_data(rows, config, problems)
    if config.personal_data == "Redact":
        rows = _still_pairs([redacted(row, config.system_prompt) for row in rows], problems)
        questions = [_redacted_question(question) for question in questions]
    for row in rows:
        for code in text_findings(row):
            problems.add(code, row.row)
        if out_of_order(row):
            problems.add("TurnsOutOfOrder", row.row)
    rows, similar, samples = _without_duplicates(rows, config.duplicates, problems)
    samples += _compare(rows, questions, problems)
    return Reviewed(tuple(rows), tuple(similar), tuple(samples), found)


def _still_pairs(rows: Sequence[Conversation], problems: ProblemLog) -> list[Conversation]:
    """The rows without pairs whose answers differed in what is masked alone."""
    kept = []
    for row in rows:
        if row.rejected and same_answers(row.messages[-1], row.rejected):
            problems.reject("SameAnswers", row.row)
        else:
            kept.append(row)
    return kept


def _redacted_question(question: Question) -> Question:
    """The question as rows ask it that are masked; it is asked as it is."""
    return replace(question, messages=tuple(map(redacted_message, question.messages)))


def _personal_data(rows: Sequence[Conversation], config: DatasetConfig, problems: ProblemLog) -> dict[str, int]:
    found: Counter[str] = Counter()
    first = ""
    for row in rows:
        kinds = kinds_of(row, config.system_prompt)
        for code in sorted({code for code, _ in kinds}):
            problems.add(code, row.row)
        for (_, name), count in kinds.items():
            found[name] += count
        first = first or (row.row if kinds else "")
    if found and config.personal_data == "Fail":
        kinds_found = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        message = f"{described(first)}: personal data or a secret; in all rows {kinds_found}"
        advice = "remove it, or set dataset.personalData to Redact"
        raise StageError(StageFailure.DATASET_PERSONAL_DATA, message, advice)
    return dict(sorted(found.items()))


def _without_duplicates(
    rows: Sequence[Conversation], policy: str, problems: ProblemLog
) -> tuple[list[Conversation], list[Pair], list[Sample]]:
    exact, similar = exact_duplicates(rows), similar_questions(rows)
    near = {index: of for index, of in near_duplicates(rows, similar).items() if index not in exact}
    dropped: set[int] = set()
    for code, found, drop in (
        ("Duplicate", exact, policy in ("DropExact", "DropNear")),
        ("NearDuplicate", near, policy == "DropNear"),
    ):
        for index in sorted(found):
            (problems.reject if drop else problems.add)(code, rows[index].row)
        dropped |= set(found) if drop else set()
    samples = [Sample("NearDuplicate", rows[index], rows[near[index]]) for index in sorted(near)]
    kept = [index for index in range(len(rows)) if index not in dropped]
    return [rows[index] for index in kept], among(similar, kept), samples


def _compare(rows: Sequence[Conversation], questions: Sequence[Question], problems: ProblemLog) -> list[Sample]:
    samples = []
    for item in contradictions(rows):
        first, second = rows[item.first], rows[item.second]
        problems.add(item.code, f"{second.row} and {first.row}")
        samples.append(Sample(item.code, second, first))
    for index, question in leaks(rows, questions):
        problems.add("LeakedQuestion", f"{rows[index].row} and {questions[question].row}")
    for code, indexes in (("AnswersAlike", answers_alike(rows)), ("LengthOutlier", length_outliers(rows))):
        for index in indexes:
            problems.add(code, rows[index].row)
    if len(rows) < FEW_ROWS:
        problems.add("FewRows", "")
    return samples
