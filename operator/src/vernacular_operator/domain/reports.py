"""What the pods of an attempt left: their reports, and which of them ended first by itself."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.api import Stage
from vernacular_operator.domain.snapshot import PodFacts
from vernacular_trainer.contract import ContractError, Outcome, StageReport, Summary
from vernacular_trainer.contract import Stage as ContractStage


def report_of(pod: PodFacts) -> StageReport | None:
    """The pod's report; None when there is none, or when the exit code says something else."""
    if pod.terminated is None:
        return None
    try:
        report = StageReport.from_json(pod.terminated.message)
    except ContractError:
        return None
    return report if report.outcome.exit_code == pod.terminated.exit_code else None


def summary_of(report: StageReport | None, stage: Stage) -> Summary | None:
    """The report's summary as the stage's own type; None when there is none or it does not fit."""
    if report is None:
        return None
    try:
        return report.typed_summary(ContractStage(stage.value))
    except ContractError:
        return None


def success_report(pods: Sequence[PodFacts]) -> StageReport | None:
    """The report of the first pod that ended well; `pods` are ordered by index."""
    reports = (report_of(pod) for pod in pods)
    return next((report for report in reports if report and report.outcome is Outcome.DONE), None)


def has_evidence(pods: Sequence[PodFacts]) -> bool:
    """Whether a pod has ended by itself, or says why it was taken away."""
    return root_of(pods) is not None or any(pod.disruption or pod.status_reason == "Evicted" for pod in pods)


def root_of(pods: Sequence[PodFacts]) -> PodFacts | None:
    """The earliest pod that ended badly without being told to: later ones are collateral."""
    ended = [pod for pod in pods if pod.terminated and pod.terminated.exit_code != 0 and _by_itself(pod)]
    return min(ended, key=_order, default=None)


def _by_itself(pod: PodFacts) -> bool:
    return pod.terminated is not None and (pod.marked_at is None or pod.terminated.finished_at <= pod.marked_at)


def _order(pod: PodFacts) -> tuple[bool, float, int]:
    end = pod.terminated.finished_at.timestamp() if pod.terminated else 0.0
    return (pod.marked_at is not None, end, pod.index)
