"""What a run holds beside its metrics: parameters, files that were learnt from, what was asked, attempts. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vernacular_trainer.contract import JobConfig
from vernacular_trainer.data.mixing import SHARE_OF
from vernacular_trainer.tracking.spool import SpoolFile

PARAMETER_LIMIT = 500
TAG_LIMIT = 5000
_CUT = " … (cut)"
# of MLflow, for the digest and the name of a data set
_DIGEST_LIMIT, _NAME_LIMIT = 36, 500
# how the copies of files begin that are not trained on
_TESTED = ("questions.", "glossary.", "validation-")


@dataclass(frozen=True)
class DatasetRecord:
    """A file as MLflow shows data sets: `source` and `profile` are JSON, `context` is training or evaluation."""

    name: str
    digest: str
    source: str
    profile: str
    context: str


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as MLflow takes, with words that say so."""
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def parameters(config: JobConfig, data: Mapping[str, Any]) -> dict[str, str]:
    """What people search runs by; everything else is in plan.json. MLflow takes no names of sources in keys."""
    model = data["model"]
    shares = [item for item in data["plan"] if item["name"].startswith(SHARE_OF)]
    told = [f"{item['name'].removeprefix(SHARE_OF)}: {item['value']}" for item in shares]
    values = {
        "model": config.model.uri,
        "modelRevision": model["commit"] or config.model.revision,
        **{item["name"]: item["value"] for item in data["plan"] if item not in shares},
        **{f"share.{number}": text for number, text in enumerate(told)},
        "datasetDigest": data["digest"],
        "trainRows": str(data["train"]),
    }
    return {name: cut(value, PARAMETER_LIMIT) for name, value in values.items()}


def datasets(data: Mapping[str, Any]) -> list[DatasetRecord]:
    """The files that the job named, as prepare copied them. MLflow's digest is the beginning of ours."""
    return [
        DatasetRecord(
            name=cut(item["name"], _NAME_LIMIT),
            digest=item["digest"].removeprefix("sha256:")[:_DIGEST_LIMIT],
            source=json.dumps({"name": item["name"], "digest": item["digest"]}),
            profile=json.dumps({"bytes": item["bytes"]}),
            context="evaluation" if item["file"].startswith(_TESTED) else "training",
        )
        for item in data["inputs"]
    ]


def questions_digest(evaluation: Mapping[str, Any]) -> str:
    """SHA-256 of what was asked and expected, whatever the order, with the system prompt; "" when nothing was asked.

    Right answers of jobs with equal digests can be compared.
    """
    asked = sorted(
        json.dumps([item["messages"], item["expected"], item["answerable"]], sort_keys=True)
        for item in evaluation["questions"]
    )
    return hashlib.sha256("\n".join(asked).encode()).hexdigest() if asked else ""


def attempts(files: Iterable[SpoolFile]) -> list[dict[str, Any]]:
    """What each attempt of training measured: first and last step and moment. An attempt without any is left out."""
    found = []
    for file in files:
        points = sorted(file.points(), key=lambda point: point.timestamp)
        if points:
            steps = [point.step for point in points]
            found.append(
                {
                    "attempt": file.attempt,
                    "first_step": min(steps),
                    "last_step": max(steps),
                    "began": _moment(points[0].timestamp),
                    "ended": _moment(points[-1].timestamp),
                }
            )
    return found


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
