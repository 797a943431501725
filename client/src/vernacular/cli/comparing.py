"""Several jobs side by side: what of their settings differs, how they learnt, how they answered, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from vernacular.cli.mlflow import TAG_PREFIX
from vernacular.cli.runs import Curve, Run
from vernacular.cli.screens.values import pick, seconds_between

Json = Mapping[str, Any]

TRAINING_LOSS, HELD_OUT_LOSS = "train/loss", "eval/loss"
_VERDICT = "verdict/"
_REVISION = "modelRevision"
_QUESTIONS = TAG_PREFIX + "questions"
_ANSWERS = ("correct", "wrong", "declined")
_STATES = {"RUNNING": "Running", "FINISHED": "Succeeded", "FAILED": "Failed", "KILLED": "Stopped"}


@dataclass(frozen=True)
class Score:
    """How base and tuned model answered; the gain in percentage points with its 95 % interval.

    `prompted`: right answers of the base with rows in its prompt, and how many were asked so; None: not measured.
    `questions`: digest of what was asked; "": not known.
    """

    verdict: str
    base_correct: int
    asked: int
    tuned_correct: int
    wrong: int
    declined: int
    invented: int
    gain: int
    gain_low: int
    gain_high: int
    prompted: tuple[int, int] | None = None
    questions: str = ""


@dataclass(frozen=True)
class Spent:
    """What a job used; None for what is not known."""

    seconds: float | None = None
    gpu_hours: float | None = None
    cost: str = ""
    currency: str = ""


@dataclass(frozen=True)
class Subject:
    """One of the jobs that are compared. `settings` is empty when nothing is known of them."""

    name: str
    state: str
    run_id: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    score: Score | None = None
    spent: Spent = Spent()


def of_job(job: Json, run: Run | None, curves: Mapping[str, Curve], now: datetime) -> Subject:
    """A job whose resource is there, with its run where that is known: which commit of the model was taken, and what
    was asked, only the run says.
    """
    settings, score = _settings(job), _score(pick(job, "status.evaluation"))
    if run and settings and (revision := run.params.get(_REVISION)):
        settings[_REVISION] = revision
    if run and score:
        score = replace(score, questions=run.tags.get(_QUESTIONS, ""))
    return Subject(
        job["metadata"]["name"],
        pick(job, "status.state") or "",
        pick(job, "status.mlflow.runID") or "",
        settings,
        curves,
        score,
        _spent(job, now),
    )


def of_run(name: str, run: Run, curves: Mapping[str, Curve], now: datetime) -> Subject:
    """A job of which its run in MLflow is left."""
    ended = run.ended_ms / 1000 if run.ended_ms else now.timestamp()
    cost = run.metrics.get("usage/cost")
    spent = Spent(
        ended - run.started_ms / 1000 if run.started_ms else None,
        run.metrics.get("usage/gpu_hours"),
        "" if cost is None else f"{cost:.2f}",
        run.tags.get(TAG_PREFIX + "currency", ""),
    )
    state = _STATES.get(run.status, run.status)
    return Subject(name, state, run.run_id, dict(run.params), curves, _recorded_score(run), spent)


def differing(subjects: Sequence[Subject]) -> dict[str, tuple[str, ...]]:
    """Settings that are not the same in all jobs whose settings are known, with the value of each job, "" for none."""
    known = [subject for subject in subjects if subject.settings]
    names = _compared(known)
    return {
        name: tuple(subject.settings.get(name, "") for subject in subjects)
        for name in names
        if len({subject.settings.get(name) for subject in known}) > 1
    }


def equal_settings(subjects: Sequence[Subject]) -> int:
    """How many settings are the same in all jobs whose settings are known."""
    return len(_compared(subjects)) - len(differing(subjects))


def _compared(subjects: Sequence[Subject]) -> dict[str, None]:
    """Names of the settings. A commit that not every job tells is not another one."""
    known = [subject for subject in subjects if subject.settings]
    names = dict.fromkeys(name for subject in known for name in subject.settings)
    if not all(_REVISION in subject.settings for subject in known):
        names.pop(_REVISION, None)
    return names


def remarks(subjects: Sequence[Subject]) -> list[str]:
    """What a person should know before comparing."""
    found = [
        f"The settings of {item.name} are not known: it has no plan yet." for item in subjects if not item.settings
    ]
    scored = [(item.name, item.score) for item in subjects if item.score]
    papers = {score.questions for _, score in scored if score.questions}
    if len(papers) > 1 or len({score.asked for _, score in scored}) > 1:
        found.append("These jobs were not asked the same questions: their right answers cannot be compared.")
    elif len(scored) > 1 and (silent := [name for name, score in scored if not score.questions]):
        found.append(
            f"What {', '.join(silent)} was asked is not known: right answers can be compared only if it was the same."
        )
    return found


def as_document(subjects: Sequence[Subject]) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "jobs": [asdict(subject) for subject in subjects],
        "differing": {name: list(values) for name, values in differing(subjects).items()},
        "remarks": remarks(subjects),
    }


def _settings(job: Json) -> dict[str, str]:
    """Under the names that the run has them under."""
    values = {item["name"]: item.get("value", "") for item in pick(job, "status.plan.values") or ()}
    if not values:
        return {}
    data = {"datasetDigest": pick(job, "status.dataset.digest"), "trainRows": pick(job, "status.dataset.train")}
    model = pick(job, "spec.model.uri") or ""
    return {"model": model, **values, **{name: str(value) for name, value in data.items() if value is not None}}


def _score(found: Json | None) -> Score | None:
    if not found:
        return None
    base, tuned, gain = (found.get(part) or {} for part in ("base", "tuned", "gainPoints"))
    prompted = found.get("prompted")
    return Score(
        verdict=found.get("verdict") or "",
        base_correct=base.get("correct", 0),
        asked=sum(base.get(name, 0) for name in _ANSWERS),
        tuned_correct=tuned.get("correct", 0),
        wrong=tuned.get("wrong", 0),
        declined=tuned.get("declined", 0),
        invented=tuned.get("invented", 0),
        gain=gain.get("value", 0),
        gain_low=gain.get("low", 0),
        gain_high=gain.get("high", 0),
        prompted=(prompted.get("correct", 0), prompted.get("asked", 0)) if prompted else None,
    )


def _recorded_score(run: Run) -> Score | None:
    found = {name.removeprefix(_VERDICT): round(value) for name, value in run.metrics.items() if _VERDICT in name}
    if not found:
        return None
    return Score(
        verdict=run.tags.get(TAG_PREFIX + "verdict", ""),
        base_correct=found.get("base_correct", 0),
        asked=sum(found.get(f"base_{name}", 0) for name in _ANSWERS),
        tuned_correct=found.get("tuned_correct", 0),
        wrong=found.get("tuned_wrong", 0),
        declined=found.get("tuned_declined", 0),
        invented=found.get("tuned_invented", 0),
        gain=found.get("gain_points", 0),
        gain_low=found.get("gain_points_low", 0),
        gain_high=found.get("gain_points_high", 0),
        prompted=(found.get("prompted_correct", 0), found["prompted_asked"]) if found.get("prompted_asked") else None,
        questions=run.tags.get(_QUESTIONS, ""),
    )


def _spent(job: Json, now: datetime) -> Spent:
    gpu_seconds = pick(job, "status.usage.gpuSeconds")
    return Spent(
        seconds_between(pick(job, "status.startTime"), pick(job, "status.completionTime"), now),
        gpu_seconds / 3600 if gpu_seconds else None,
        pick(job, "status.usage.cost") or "",
        pick(job, "status.usage.currency") or "",
    )
