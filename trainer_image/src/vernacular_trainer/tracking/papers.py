"""The papers of a job that hold texts, written as they may be published: nothing that holds texts leaves the job's
volume by another way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import JobConfig, TextInReports
from vernacular_trainer.data.files import write_bytes, write_json
from vernacular_trainer.data.report import write_report as write_data_report
from vernacular_trainer.evaluation.report import write_report, write_sheets
from vernacular_trainer.tracking.model_card import model_card
from vernacular_trainer.workspace import Workspace

TABLE = "reports/evaluation_table.json"


def write_papers(config: JobConfig, folder: Path, data: dict[str, Any], evaluation: dict[str, Any]) -> None:
    """Write reports, table, sheets and model card into `folder`, from reports that may be published. Without texts
    there is nothing to fill in, and no sheet.
    """
    shown = Workspace(folder)
    write_data_report(data, shown)
    write_report(shown, evaluation)
    with_texts = config.tracking.text_in_reports is not TextInReports.NONE
    if with_texts:
        write_sheets(shown, evaluation)
    write_json(folder / TABLE, answer_table(evaluation["questions"], with_texts=with_texts))
    write_bytes(folder / "model_card.md", model_card(config, data, evaluation).encode())


def answer_table(questions: list[dict[str, Any]], *, with_texts: bool) -> dict[str, Any]:
    """The answers side by side, as MLflow's page shows tables; without texts, their scores."""
    columns = _WITH_TEXTS if with_texts else _WITHOUT_TEXTS
    return {"columns": list(columns), "data": [[read(item) for read in columns.values()] for item in questions]}


_Read = Callable[[dict[str, Any]], Any]
_SCORES: dict[str, _Read] = {"base": lambda item: item["base"]["score"], "tuned": lambda item: item["tuned"]["score"]}
_REST: dict[str, _Read] = {
    "topic": lambda item: item["topic"],
    "better, says the judge": lambda item: item.get("judge", ""),
}
_WITH_TEXTS: dict[str, _Read] = {
    "question": lambda item: item["messages"][-1]["content"],
    "expected": lambda item: item["expected"],
    "base answer": lambda item: item["base"]["answer"],
    "base": _SCORES["base"],
    "tuned answer": lambda item: item["tuned"]["answer"],
    "tuned": _SCORES["tuned"],
    "with rows in the prompt": lambda item: item.get("prompted", {}).get("answer", ""),
    **_REST,
}
_WITHOUT_TEXTS: dict[str, _Read] = {
    "question": lambda item: item["row"],
    "wording": lambda item: item["phrasing"] + 1,
    **_SCORES,
    "with rows in the prompt": lambda item: item.get("prompted", {}).get("score", ""),
    **_REST,
}
