"""Everything that is known of one job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from vernacular.cli.screens.jobs import STATE_COLOURS, gpus, state_cell, verdict_cell
from vernacular.cli.screens.layout import Cell, Paint, field, section, table, wrapped
from vernacular.cli.screens.values import counted, duration, pick, seconds_between, since, text
from vernacular.cli.terminal import Colour

Json = Mapping[str, Any]

_STAGE_COLOURS = {**STATE_COLOURS, "Running": Colour.ACTIVE, "Pending": Colour.FAINT}
_SEVERITY_COLOURS = {"Error": Colour.BAD, "Warning": Colour.ATTENTION}


def describe(job: Json, now: datetime, paint: Paint, width: int, *, wide: bool = False) -> list[str]:
    """The job in sections. `wide` adds the plan: every setting with its reason."""
    plan = _plan(job, paint) if wide else wrapped(pick(job, "status.plan.summary") or "", width - 2)
    return [
        *_head(job, now, paint, width),
        *section("Stages", _stages(job, now, paint), paint),
        *section("Progress", progress_lines(job, paint), paint),
        *section("Data", _data(job, paint, width - 2), paint),
        *section("Plan", plan, paint),
        *section("Verdict", _evaluation(job, paint, width - 2), paint),
        *section("MLflow", _mlflow(job, paint, width - 2), paint),
        *section("Failure", failure_lines(job, paint, width - 2), paint),
    ]


def progress_lines(job: Json, paint: Paint) -> list[str]:
    """Step, loss, speed and what is left, as last reported."""
    progress = pick(job, "status.progress")
    if not progress:
        return []
    total = progress.get("totalSteps")
    parts = [f"step {progress.get('step', 0)}" + (f" of {total} ({progress.get('percent', 0)}%)" if total else "")]
    parts += [
        f"{name} {progress[key]}"
        for name, key in (("loss", "loss"), ("held-out loss", "evalLoss"))
        if progress.get(key)
    ]
    if speed := progress.get("tokensPerSecond"):
        parts.append(f"{speed:,} tokens/s")
    if progress.get("etaSeconds"):
        parts.append(f"{duration(progress['etaSeconds'])} left")
    return [paint(", ".join(parts), None)]


def failure_lines(job: Json, paint: Paint, width: int) -> list[str]:
    """Why the job failed, and what to do."""
    failure = pick(job, "status.failure")
    if not failure:
        return []
    lines = field("Code", Cell(text(failure.get("code")), Colour.BAD), paint, width)
    for label, key in (("Stage", "stage"), ("Message", "message"), ("Advice", "advice"), ("Seen in", "evidence")):
        if failure.get(key):
            lines += field(label, failure[key], paint, width)
    return lines


def _head(job: Json, now: datetime, paint: Paint, width: int) -> list[str]:
    metadata, spec = job["metadata"], job.get("spec", {})
    took = seconds_between(pick(job, "status.startTime"), pick(job, "status.completionTime"), now)
    method = f"{text(pick(spec, 'method.type'))}, {text(pick(spec, 'objective'))}"
    devices = counted(gpus(job), "GPU") if gpus(job) else "CPU"
    usage = pick(job, "status.usage") or {}
    entries: list[tuple[str, Cell | str | None]] = [
        ("Name", metadata["name"]),
        ("Namespace", metadata.get("namespace")),
        ("State", state_cell(job)),
        ("Reason", pick(job, "status.reason")),
        ("Message", pick(job, "status.message")),
        ("Model", pick(spec, "model.uri")),
        ("Method", f"{method}; {devices} in {counted(pick(spec, 'compute.pods') or 1, 'pod')}"),
        ("Rows from", ", ".join(_sources(spec))),
        ("Age", since(metadata.get("creationTimestamp"), now)),
        ("Took" if pick(job, "status.completionTime") else "Runs for", duration(took) if took is not None else None),
        ("Used", _used(usage)),
    ]
    return [line for label, value in entries if value for line in field(label, value, paint, width)]


def _sources(spec: Json) -> Iterator[str]:
    for source in pick(spec, "dataset.train") or ():
        reference = source.get("configMap")
        yield f"ConfigMap {reference['name']}/{reference['key']}" if reference else str(source.get("uri"))


def _used(usage: Json) -> str:
    hours = f"{usage['gpuSeconds'] / 3600:.1f} GPU hours" if usage.get("gpuSeconds") else ""
    counts = (counted(usage[key], key[:-1]) for key in ("restarts", "preemptions", "repairs") if usage.get(key))
    return ", ".join(filter(None, (hours, *counts)))


def _stages(job: Json, now: datetime, paint: Paint) -> list[str]:
    rows = [
        [
            Cell(text(stage.get("name"))),
            Cell(text(stage.get("state")), _STAGE_COLOURS.get(stage.get("state"))),
            Cell(text(stage.get("attempt") or None)),
            Cell(duration(seconds_between(stage.get("startTime"), stage.get("completionTime"), now))),
            Cell(text(stage.get("reason"))),
            Cell(stage.get("message") or ""),
        ]
        for stage in pick(job, "status.stages") or ()
    ]
    return table(("STAGE", "STATE", "ATTEMPT", "TIME", "REASON", ""), rows, paint) if rows else []


def _data(job: Json, paint: Paint, width: int) -> list[str]:
    data = pick(job, "status.dataset")
    if not data:
        return []
    lines = [
        f"{data.get('rows', 0):,} rows: {data.get('train', 0):,} to train on, {data.get('validation', 0):,} kept back,"
        f" {data.get('dropped', 0):,} left out, {data.get('duplicates', 0):,} duplicates;"
        f" {data.get('tokens', 0):,} tokens an epoch"
    ]
    if readiness := data.get("readiness"):
        said = "; ".join((f"Readiness: {readiness.get('verdict')}", *(readiness.get("reasons") or ())))
        lines += wrapped(said, width)
    for problem in data.get("problems") or ():
        severity = problem.get("severity") or ""
        places = ", ".join(problem.get("firstRows") or ())
        head = f"{problem.get('code')}: {counted(problem.get('count') or 0, 'row')}" + (
            f" ({places})" if places else ""
        )
        lines += [paint(line, _SEVERITY_COLOURS.get(severity)) for line in wrapped(f"{severity} {head}".strip(), width)]
        lines += [f"  {line}" for line in wrapped(problem.get("advice") or "", width - 2)]
    return lines


def _plan(job: Json, paint: Paint) -> list[str]:
    values = pick(job, "status.plan.values") or ()
    rows = [[Cell(text(item.get(key))) for key in ("name", "value", "reason")] for item in values]
    return table(("SETTING", "VALUE", "WHY"), rows, paint) if rows else []


def _evaluation(job: Json, paint: Paint, width: int) -> list[str]:
    found = pick(job, "status.evaluation")
    if not found:
        return []
    lines = field("Verdict", verdict_cell(job), paint, width)
    lines += field("Summary", found.get("summary") or "", paint, width)
    for label, key in (("Gate missed", "gateMissed"), ("Weak topics", "weakTopics")):
        if found.get(key):
            lines += field(label, "; ".join(found[key]), paint, width)
    return lines


def _mlflow(job: Json, paint: Paint, width: int) -> list[str]:
    found = pick(job, "status.mlflow") or {}
    model = found.get("registeredModel")
    version = (
        f"{model} version {found['modelVersion']}, alias {text(found.get('alias'))}"
        if found.get("modelVersion")
        else ""
    )
    promoted = found.get("promotedAlias")
    replaced = f" (before: version {found['replacedVersion']})" if found.get("replacedVersion") else ""
    entries = (
        ("Run", found.get("url") or found.get("runID")),
        ("Model", version),
        ("Promoted", f"to {promoted}{replaced}" if promoted else ""),
    )
    return [line for label, value in entries if value for line in field(label, value, paint, width)]
