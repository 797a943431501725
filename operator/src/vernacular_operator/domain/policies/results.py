"""What stages report of their results, carried into the status."""

from __future__ import annotations

import dataclasses

from pydantic import TypeAdapter, ValidationError

from vernacular.api import Reason, Stage, StageState, Verdict
from vernacular.api.base import timestamp
from vernacular.api.status import (
    AnswerCounts,
    CheckpointsStatus,
    DatasetProblem,
    DatasetStatus,
    EvaluationStatus,
    GainPoints,
    MLflowStatus,
    Plan,
    PlanValue,
    Progress,
    PromptedAnswers,
    ReadinessStatus,
)
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.reports import success_report, summary_of
from vernacular_trainer import contract

_VERDICT = TypeAdapter(Verdict)


def succeed(draft: Draft, stage: Stage, attempt: int) -> None:
    """The attempt's Job is complete: note its results and the stage's end."""
    job = draft.world.job_of(stage, attempt)
    report = success_report(draft.world.pods_of(stage, attempt))
    note(draft, stage, report)
    ended = (job.finished_at if job else None) or draft.now
    draft.write(
        stage,
        state=StageState.SUCCEEDED,
        attempt=attempt,
        job_name=job.name if job else draft.record(stage).job_name,
        start_time=draft.record(stage).start_time or timestamp(ended),
        completion_time=timestamp(ended),
        reason=Reason.STAGE_SUCCEEDED,
        message=_message(report, stage) if report else "its pod was gone before its report was read",
    )


def _message(report: contract.StageReport, stage: Stage) -> str | None:
    summary = summary_of(report, stage)
    if not isinstance(summary, contract.TrainSummary) or summary.result_step in (0, summary.total_steps):
        return report.message or None
    best = f"the result is that of step {summary.result_step}"
    if summary.result_step < summary.step:
        best += ", which had the lowest loss on the rows that were kept back"
    early = f"ended early at step {summary.step} of {summary.total_steps}, " if summary.stopped_early else ""
    return early + best


def note(draft: Draft, stage: Stage, report: contract.StageReport | None) -> None:
    """Carry the report's summary into the status; nothing when there is none, or none that the status can hold."""
    summary = summary_of(report, stage)
    try:
        _carry(draft, summary)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        draft.event("Warning", "ReportUnusable", f"{stage}: the report holds values that no status can hold: {wrong}")


def _carry(draft: Draft, summary: contract.Summary | None) -> None:
    match summary:
        case contract.PrepareSummary():
            draft.set(dataset=_dataset(summary), plan=_plan(summary))
            if draft.status.progress is None and summary.total_steps:
                draft.set(progress=Progress(total_steps=summary.total_steps))
        case contract.TrainSummary():
            _train(draft, summary)
        case contract.EvaluateSummary():
            draft.set(evaluation=_evaluation(summary))
        case contract.PublishSummary():
            changes = {
                "registered_model": summary.registered_model,
                "model_version": summary.model_version,
                "alias": summary.alias,
                "artifact_uri": summary.artifact_uri,
                "promoted_alias": summary.promoted_alias or None,
                "replaced_version": summary.replaced_version or None,
            }
            draft.set(mlflow=evolve(draft.status.mlflow or MLflowStatus(), **changes))
        case None:
            return


def note_checkpoints(draft: Draft, report: contract.StageReport | None) -> None:
    """Note the checkpoints of an attempt of training that did not finish; nothing when its report has none."""
    summary = summary_of(report, Stage.TRAIN)
    if isinstance(summary, contract.TrainSummary):
        _checkpoints(draft, summary)


def note_checkpoint_step(draft: Draft, step: int, training_seconds: int) -> None:
    """Note that a checkpoint of this step is complete, and how long the training that it holds took."""
    old = draft.status.checkpoints or CheckpointsStatus()
    if step > old.latest_step:
        seconds = max(old.training_seconds, training_seconds)
        draft.set(checkpoints=evolve(old, latest_step=step, training_seconds=seconds))


def _checkpoints(draft: Draft, summary: contract.TrainSummary) -> None:
    old = draft.status.checkpoints or CheckpointsStatus()
    kept = summary.result_step > 0 or summary.checkpoint_step == summary.step
    checkpoints = evolve(
        old,
        training_seconds=max(old.training_seconds, summary.training_seconds if kept else 0),
        latest_step=max(old.latest_step, summary.checkpoint_step),
        complete=summary.complete_checkpoints,
        resumed_from_step=summary.resumed_from_step,
    )
    draft.set(checkpoints=checkpoints)


def percent_of(step: int, total: int) -> int:
    """Steps done in percent, 100 only when all are done."""
    return min(100, step * 100 // total) if total > 0 else 0


def _train(draft: Draft, summary: contract.TrainSummary) -> None:
    old = draft.status.progress or Progress()
    progress = evolve(
        old,
        step=summary.step,
        total_steps=summary.total_steps,
        percent=100 if summary.stopped_early else percent_of(summary.step, summary.total_steps),
        loss=summary.loss or old.loss,
        eval_loss=summary.eval_loss or old.eval_loss,
        eta_seconds=0,
        reported_at=timestamp(draft.now),
    )
    draft.set(progress=progress)
    _checkpoints(draft, summary)


def _dataset(summary: contract.PrepareSummary) -> DatasetStatus:
    problems = tuple(
        DatasetProblem(
            code=item.code,
            severity=item.severity,
            count=item.count,
            first_rows=item.first_rows,
            advice=item.advice,
        )
        for item in summary.problems
    )
    return DatasetStatus(
        rows=summary.rows,
        dropped=summary.dropped,
        duplicates=summary.duplicates,
        train=summary.train,
        validation=summary.validation,
        tokens=summary.tokens,
        digest=summary.digest,
        problems=problems,
        readiness=_readiness(summary.readiness) if summary.readiness else None,
    )


def _readiness(found: contract.Readiness) -> ReadinessStatus:
    return ReadinessStatus(verdict=found.verdict, reasons=found.reasons)


def _plan(summary: contract.PrepareSummary) -> Plan:
    values = tuple(PlanValue(name=item.name, value=item.value, reason=item.reason) for item in summary.plan)
    return Plan(summary=summary.plan_summary, values=values)


def _evaluation(summary: contract.EvaluateSummary) -> EvaluationStatus:
    return EvaluationStatus(
        verdict=_VERDICT.validate_python(summary.verdict),
        summary=summary.summary,
        base=_counts(summary.base),
        tuned=_counts(summary.tuned),
        gain_points=GainPoints(
            value=summary.gain_points.value, low=summary.gain_points.low, high=summary.gain_points.high
        ),
        prompted=_prompted(summary.prompted) if summary.prompted else None,
        general_regression_percent=summary.general_regression_percent,
        gate_missed=summary.gate_missed,
        weak_topics=summary.weak_topics,
    )


def _prompted(prompted: contract.PromptedSummary) -> PromptedAnswers:
    return PromptedAnswers(
        **dataclasses.asdict(prompted.counts),
        asked=prompted.asked,
        tuned_correct=prompted.tuned_correct,
        tokens_per_request=prompted.tokens_per_request,
    )


def _counts(counts: contract.AnswerCounts) -> AnswerCounts:
    return AnswerCounts(**dataclasses.asdict(counts))
