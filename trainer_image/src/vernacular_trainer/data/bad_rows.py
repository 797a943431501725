"""Whether a training may go on without its bad rows."""

from __future__ import annotations

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.reading.record import described
from vernacular_trainer.errors import StageError


def require_few_bad_rows(problems: ProblemLog, rows: int, percent: int) -> None:
    """Raises StageError when more than `percent` of the `rows` that were read cannot be trained on: about the first bad
    row (DatasetSchema, DatasetUnreadable) when none may be bad, else DatasetTooManyBadRows. All findings are evidence.
    """
    bad = problems.bad_rows()
    if 100 * len(bad) <= percent * rows:
        return
    first = f"{described(bad[0].row)}: {FINDINGS[bad[0].code].what}"
    evidence = "; ".join(f"{p.code} x{p.count}: {', '.join(p.first_rows)}" for p in problems.problems())
    if percent:
        message = f"{len(bad)} of {rows} rows cannot be trained on, more than {percent} %; the first: {first}"
        advice = "mend the rows that the report names, or raise dataset.maxBadRowsPercent to train without them"
        raise StageError(StageFailure.DATASET_TOO_MANY_BAD_ROWS, message, advice, evidence)
    others = f" ({len(bad) - 1} more bad {'row' if len(bad) == 2 else 'rows'})" if len(bad) > 1 else ""
    code = StageFailure.DATASET_UNREADABLE if bad[0].code == "NotUtf8" else StageFailure.DATASET_SCHEMA
    raise StageError(code, first + others, FINDINGS[bad[0].code].advice, evidence)
