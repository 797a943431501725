"""All checks over all readable rows: what they find goes to the log, what the job asks for is dropped or masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vernacular_trainer.contract import DatasetConfig, StageFailure
from vernacular_trainer.data.checks.answers import FEW_ROWS, answers_alike, length_outliers
from vernacular_trainer.data.checks.contradictions import asked_twice, difference
from vernacular_trainer.data.checks.duplicates import exact_duplicates
from vernacular_trainer.data.checks.leakage import leaks
from vernacular_trainer.data.checks.personal_data import redacted_message
from vernacular_trainer.data.checks.similarity import among
from vernacular_trainer.data.checks.traits import Traits, joined
from vernacular_trainer.data.inspection import Inspection, Kinds, inspect
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.reading.record import described
from vernacular_trainer.data.row_store import Packed, RowStore, judge_pairs, map_rows, stored
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.similar_rows import Pair, similar_rows
from vernacular_trainer.data.workers import INLINE, Workers
from vernacular_trainer.errors import StageError

# of each code
SAMPLES = 50


@dataclass(frozen=True)
class Sample:
    """A finding that only its rows can explain: `row`, and the one that it is about beside it."""

    code: str
    row: Conversation
    other: Conversation


@dataclass(frozen=True)
class Reviewed:
    """The rows that are kept; pairs (earlier, later) of them that ask nearly the same; the first samples of each code
    for the report; and how often which kind of personal data was found.
    """

    conversations: RowStore
    similar: tuple[Pair, ...]
    samples: tuple[Sample, ...]
    personal_data: dict[str, int]


def review(
    given: Sequence[Conversation],
    config: DatasetConfig,
    questions: Sequence[Question],
    problems: ProblemLog,
    workers: Workers = INLINE,
) -> Reviewed:
    """Check all rows. Raises StageError (DatasetPersonalData) after all rows were seen."""
    mask = config.personal_data == "Redact"
    rows, inspected = _inspected(stored(given), config.system_prompt, mask, workers)
    found = _note_personal_data([item for block in inspected for item in block.personal], config, problems)
    _note_marks(inspected, problems)
    traits = joined([block.traits for block in inspected])
    if mask:
        questions = [_redacted_question(question) for question in questions]
    kept, similar, samples = _without_duplicates(rows, traits, config.duplicates, problems, workers)
    if len(kept) < len(rows):
        rows, traits = rows.select(kept), traits.select(kept)
    samples += _compare(rows, traits, questions, problems, workers)
    return Reviewed(rows, tuple(similar), tuple(samples), found)


def _inspected(rows: RowStore, system_prompt: str, mask: bool, workers: Workers) -> tuple[RowStore, list[Inspection]]:
    """What all rows show, and those that are left."""
    found: list[Inspection] = []

    def masked() -> Iterator[Packed]:
        for block in map_rows(partial(inspect, system_prompt=system_prompt, mask=mask), rows, workers):
            found.append(replace(block, masked=None))
            if block.masked:
                yield block.masked

    left = RowStore.of(masked(), rows.folder)
    return left if mask else rows, found


def _note_marks(inspected: Sequence[Inspection], problems: ProblemLog) -> None:
    for block in inspected:
        for row in block.unpaired:
            problems.reject("SameAnswers", row)
    for block in inspected:
        for row, code in block.marks:
            problems.add(code, row)


def _redacted_question(question: Question) -> Question:
    """The question as rows ask it that are masked; it is asked as it is."""
    return replace(question, messages=tuple(map(redacted_message, question.messages)))


def _note_personal_data(
    rows: Sequence[tuple[str, Kinds]], config: DatasetConfig, problems: ProblemLog
) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row, kinds in rows:
        for code in sorted({code for code, _ in kinds}):
            problems.add(code, row)
        for (_, name), count in kinds.items():
            found[name] += count
    if rows and config.personal_data == "Fail":
        kinds_found = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        message = f"{described(rows[0][0])}: personal data or a secret; in all rows {kinds_found}"
        advice = "remove it, or set dataset.personalData to Redact"
        raise StageError(StageFailure.DATASET_PERSONAL_DATA, message, advice)
    return dict(sorted(found.items()))


def _without_duplicates(
    rows: RowStore, traits: Traits, policy: str, problems: ProblemLog, workers: Workers
) -> tuple[list[int], list[Pair], list[Sample]]:
    """Indexes of the rows that are kept, similar pairs among them, and samples."""
    exact, similar = exact_duplicates(traits.same), similar_rows(rows, workers)
    near = {index: of for index, of in similar.near.items() if index not in exact}
    dropped: set[int] = set()
    for code, found, drop in (
        ("Duplicate", exact, policy in ("DropExact", "DropNear")),
        ("NearDuplicate", near, policy == "DropNear"),
    ):
        for index in sorted(found):
            (problems.reject if drop else problems.add)(code, rows[index].row, other=rows[found[index]].row)
        dropped |= set(found) if drop else set()
    samples = [Sample("NearDuplicate", rows[index], rows[near[index]]) for index in sorted(near)[:SAMPLES]]
    kept = [index for index in range(len(rows)) if index not in dropped]
    return kept, among(similar.pairs, kept), samples


def _compare(
    rows: RowStore, traits: Traits, questions: Sequence[Question], problems: ProblemLog, workers: Workers
) -> list[Sample]:
    samples: list[Sample] = []
    pairs = asked_twice(traits)
    taken: Counter[str] = Counter()
    for (first, second), code in zip(pairs.tolist(), judge_pairs(difference, rows, pairs, workers), strict=True):
        if not code:
            continue
        one, other = rows[first], rows[second]
        problems.add(code, other.row, other=one.row)
        taken[code] += 1
        if taken[code] <= SAMPLES:
            samples.append(Sample(code, other, one))
    for index, question in leaks(traits.worded, questions):
        problems.add("LeakedQuestion", rows[index].row, other=questions[question].row)
    for code, indexes in (
        ("AnswersAlike", answers_alike(traits.answers)),
        ("LengthOutlier", length_outliers(traits.lengths)),
    ):
        for row in rows.select(indexes):
            problems.add(code, row.row)
    if len(rows) < FEW_ROWS:
        problems.add("FewRows", "")
    return samples
