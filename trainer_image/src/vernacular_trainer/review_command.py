"""`python -m vernacular_trainer review SHEET --mlflow URI --run ID`: the verdict as a person judges the answers.

It is recorded in the run of the job, and on the versions that came of it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from vernacular_trainer.contract import StageFailure, TextInReports, TrackingConfig, summary_to_dict
from vernacular_trainer.data.files import write_json
from vernacular_trainer.errors import StageError, refused
from vernacular_trainer.evaluation.review import Review, changes_to_dicts, marks_to_dicts, review
from vernacular_trainer.evaluation.review_sheet import read_review_sheet
from vernacular_trainer.tracking import client as tracking
from vernacular_trainer.tracking.client import TAG_PREFIX

_REPORT = "reports/evaluation.json"
_FOLDER = "reviews"
_TIMEOUT_SECONDS = 60
_LONGEST_NAME = 250


@dataclass(frozen=True)
class Reviewed:
    """A filled in workbook, the run that it is about, and who filled it in. `record`: else it is only tried."""

    sheet: Path
    mlflow: str
    run_id: str
    reviewer: str
    record: bool = True


def review_answers(wanted: Reviewed, out: TextIO, now: Callable[[], float] = time.time) -> None:
    """Print the verdict that follows from a review and record it.

    Raises StageError: ArgumentRefused for what the person can mend, TrackingAccessDenied, TrackingUnavailable.
    """
    reviewer = " ".join(wanted.reviewer.split())
    if not reviewer.isprintable() or not 0 < len(reviewer) <= _LONGEST_NAME:
        raise refused(f"a reviewer's name has 1 to {_LONGEST_NAME} printable characters", "name one with --reviewer")
    client = tracking.connect(TrackingConfig(wanted.mlflow, ""), _TIMEOUT_SECONDS)
    with _answers(wanted.mlflow):
        report = _report(client, wanted)
        found = review(report, read_review_sheet(wanted.sheet, report))
        out.writelines(_lines(report, found))
        if wanted.record:
            moment = datetime.datetime.fromtimestamp(now(), datetime.UTC).isoformat(timespec="seconds")
            versions = _record(client, wanted, found, _tags(found, reviewer, moment), report)
            named = [f"{version.name} version {version.version}" for version in versions]
            out.write(f"Recorded in {' and on '.join([f'run {wanted.run_id}', *named])}.\n")
            if not _keeps_sheet(report):
                kept = "what it says is recorded, the workbook is not: keep it"
                out.write(f"tracking.textInReports of the job is {report['text_in_reports']}; {kept}.\n")
        else:
            out.write("Nothing was recorded.\n")


def _report(client: Any, wanted: Reviewed) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # the download alone says of every failure that there is no such file
        if _REPORT not in {item.path for item in client.list_artifacts(wanted.run_id, "reports")}:
            raise refused(f"run {wanted.run_id} has no {_REPORT}", "wait until the job has published its result")
        text = Path(client.download_artifacts(wanted.run_id, _REPORT, folder)).read_text(encoding="utf-8")
    report: dict[str, Any] = json.loads(text)
    if not report["questions"]:
        raise refused("nothing was asked in this evaluation", "give evaluation.questions, or hold rows out")
    if "gate" not in report or "row_digest" not in report["questions"][0]:
        raise refused("the report is of a release whose answers cannot be reviewed", "evaluate again with this release")
    return report


def _lines(report: Mapping[str, Any], found: Review) -> list[str]:
    lines = [found.counted, f"Verdict: {found.summary.verdict}, {_before(report, found)}.", found.summary.summary]
    return [line + "\n" for line in lines]


def _before(report: Mapping[str, Any], found: Review) -> str:
    return "as before" if found.summary.verdict == report["verdict"] else f"{report['verdict']} before"


def _tags(found: Review, reviewer: str, moment: str) -> dict[str, str]:
    """What whoever promotes a version looks at."""
    tags = {"verdict": found.summary.verdict, "summary": found.summary.summary, "answers": found.counted}
    return {f"{TAG_PREFIX}review-{key}": value for key, value in {**tags, "by": reviewer, "at": moment}.items()}


def _record(client: Any, wanted: Reviewed, found: Review, tags: dict[str, str], report: Mapping[str, Any]) -> list[Any]:
    """The evidence first: tags never speak of a workbook that is not there. The versions that have the tags now."""
    from mlflow.entities import Metric, RunTag

    digest = hashlib.sha256(wanted.sheet.read_bytes()).hexdigest()
    # each review keeps a place of its own
    place = f"{_FOLDER}/{tags[f'{TAG_PREFIX}review-at'].replace(':', '')}-{digest[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "review.json"
        before = {key: report[key] for key in ("verdict", "summary")}
        write_json(document, {**tags, "sheet": f"sha256:{digest}", "before": before, **_result(found, report)})
        client.log_artifact(wanted.run_id, str(document), place)
    if _keeps_sheet(report):
        client.log_artifact(wanted.run_id, str(wanted.sheet), place)
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in _metrics(found).items()]
    client.log_batch(wanted.run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])
    versions = list(client.search_model_versions(f"run_id = '{wanted.run_id}'"))
    for version in versions:
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)
    return versions


def _keeps_sheet(report: Mapping[str, Any]) -> bool:
    """Whether the run may hold a workbook, whose texts are perhaps those of the job's volume."""
    return bool(report.get("text_in_reports", TextInReports.FULL) == TextInReports.FULL)


def _result(found: Review, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "result": summary_to_dict(found.summary),
        "marks": marks_to_dicts(found.marks, report),
        "changes": changes_to_dicts(found.changes),
    }


def _metrics(found: Review) -> dict[str, float]:
    summary = summary_to_dict(found.summary)
    gain = summary["gain_points"]
    values = {
        "marked": found.marked,
        "changed": len(found.changes),
        **{f"{model}_{name}": value for model in ("base", "tuned") for name, value in summary[model].items()},
        "gain_points": gain["value"],
        "gain_points_low": gain["low"],
        "gain_points_high": gain["high"],
    }
    return {f"review/{name}": float(value) for name, value in values.items()}


@contextmanager
def _answers(uri: str) -> Iterator[None]:
    """What MLflow refuses, as a sentence with advice."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if tracking.refused(error):
            message, advice = f"MLflow at {uri} does not allow this", "log in as one who may edit the run: set"
            advice += " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            raise StageError(StageFailure.TRACKING_ACCESS_DENIED, message, advice) from error
        if tracking.away(error):
            message, advice = f"MLflow at {uri} does not answer", "name its address with --mlflow, or try again later"
            raise StageError(StageFailure.TRACKING_UNAVAILABLE, message, advice) from error
        raise refused(f"MLflow refuses: {error.message}", "check the run and the address of MLflow") from error
