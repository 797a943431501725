"""Reports of evaluations, made from answers that a test gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import GateConfig
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.evaluation.answers import Answers, BaseExam
from vernacular_trainer.evaluation.report import Results, write_documents
from vernacular_trainer.evaluation.scoring import score
from vernacular_trainer.evaluation.verdict import Evidence, General, Prompted, judge
from vernacular_trainer.workspace import Workspace

GOOD, BAD, NONE = "It is 90 days.", "It is 30 days.", "I don't know."


def report_of(
    folder: Path,
    answers: Sequence[tuple[str, str]],
    *,
    unanswerable: int = 0,
    prompted: str = "",
    general: General | None = None,
    gate: GateConfig | None = None,
) -> dict[str, Any]:
    """The report on pairs of answers (base, tuned) to questions that all expect "90 days"; with a wording each second
    question shares with the one before.
    """
    gate = gate or GateConfig()
    asked = tuple(
        Question(
            f"q:{place}",
            (Message("user", f"{place}?"),),
            "90 days",
            topic=f"topic {place % 3}",
            answerable=place < len(answers) - unanswerable,
            phrasing=place % 2,
            reworded=Question("", (Message("user", f"{place - 1}?"),), "").digest if place % 2 else "",
        )
        for place in range(len(answers))
    )
    base, tuned = (tuple(texts) for texts in zip(*answers, strict=True))
    scores = [tuple(map(score, asked, texts)) for texts in (base, tuned)]
    sampled = tuple(range(len(answers))) if prompted else ()
    with_rows = tuple(score(question, prompted) for question in asked) if prompted else ()
    evidence = Evidence(asked, *scores, Prompted(5, sampled, with_rows, 300) if prompted else None, general)
    known = (general.base, general.tuned) if general else ((), ())
    none = (None,) * len(answers)
    exam = BaseExam(Answers(base, none, known[0]), sampled, (prompted,) * len(sampled), (0.2, 0.1))
    workspace = Workspace(folder)
    results = Results(evidence, exam, Answers(tuned, none, known[1]), (), gate=gate)
    write_documents(workspace, judge(evidence, gate, 7), results)
    report: dict[str, Any] = json.loads(workspace.evaluation_report.read_text())
    return report
