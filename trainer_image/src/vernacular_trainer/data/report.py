"""The data report: one JSON document, and the same as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.files import write_bytes, write_json
from vernacular_trainer.data.html import render
from vernacular_trainer.data.review import Sample
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.workspace import Workspace

_SAMPLE_CHARACTERS = 400
_BAR_WIDTH = 460
_PAGE = Path(__file__).with_name("report.html")


def write_report(report: Mapping[str, Any], workspace: Workspace) -> None:
    """Write the report as JSON and as a page. A report of data that failed has `problems` alone."""
    write_json(workspace.data_report, report)
    write_bytes(workspace.data_page, page(report).encode())


def page(report: Mapping[str, Any]) -> str:
    """The report as HTML; all texts are escaped."""
    absent: dict[str, Any] = {
        "notice": "",
        "personal_data": {},
        "samples": [],
        "glossary": [],
        "sources": [],
        "ignored_files": [],
        "languages": {},
        "readiness": {},
        "places": 0,
        "mask": {"samples": []},
        "topics": [],
    }
    shown = {**absent, **report}
    return render(_PAGE, report=shown, bars=_bars(report.get("token_histogram", {})))


def sample_texts(samples: Sequence[Sample]) -> list[dict[str, str]]:
    """Samples as texts, cut, with personal data masked."""
    return [
        {
            "code": sample.code,
            "row": sample.row.row,
            "text": _text(sample.row),
            "other_row": sample.other.row,
            "other_text": _text(sample.other),
        }
        for sample in samples
    ]


def _text(row: Conversation) -> str:
    text = masked(
        "\n".join(f"{message.role}: {message.content}" for message in row.messages if message.role != "system")
    )
    return text if len(text) <= _SAMPLE_CHARACTERS else text[: _SAMPLE_CHARACTERS - 1] + "…"


def _bars(histogram: Mapping[str, int]) -> list[dict[str, Any]]:
    most = max(histogram.values(), default=1)
    return [
        {"label": label, "count": count, "width": max(1, round(_BAR_WIDTH * count / most))}
        for label, count in histogram.items()
    ]
