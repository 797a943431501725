"""Why an attempt ended: the root cause among its pods, judged by reports first, then by what Kubernetes says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vernacular.api import FailureCode, Reason, Stage
from vernacular_operator.domain.snapshot import JobFacts, PodFacts
from vernacular_trainer.contract import ContractError, Outcome, StageFailure, StageReport, Summary
from vernacular_trainer.contract import Stage as ContractStage

_NODE_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
_CODES = frozenset(StageFailure)


class Kind(StrEnum):
    """What follows from a cause."""

    USER_ERROR = "UserError"  # never retried
    PREEMPTED = "Preempted"  # continued from the checkpoint that was saved
    DISRUPTED = "Disrupted"  # the cluster took the pods away: continued, costs nothing
    WAITING = "Waiting"  # something outside is away: tried again, costs nothing
    FAILED = "Failed"  # retried within the budget


@dataclass(frozen=True)
class Cause:
    """Why an attempt ended. `code` is a failure code, or Preempted."""

    kind: Kind
    code: str
    message: str
    advice: str = ""
    evidence: str = ""
    report: StageReport | None = None


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


def cause_of(job: JobFacts | None, pods: Sequence[PodFacts]) -> Cause:
    """Why an attempt that is over, or is ending, did not succeed. `job` is None when the Job itself is gone."""
    if root := _root(pods):
        return _of_root(root, pods)
    return _without_root(job, pods)


def has_evidence(pods: Sequence[PodFacts]) -> bool:
    """Whether a pod has ended by itself, or says why it was taken away."""
    return _root(pods) is not None or any(pod.disruption or pod.status_reason == "Evicted" for pod in pods)


def _root(pods: Sequence[PodFacts]) -> PodFacts | None:
    """The earliest pod that ended badly without being told to: later ones are collateral."""
    ended = [pod for pod in pods if pod.terminated and pod.terminated.exit_code != 0 and _by_itself(pod)]
    return min(ended, key=_order, default=None)


def _by_itself(pod: PodFacts) -> bool:
    return pod.terminated is not None and (pod.marked_at is None or pod.terminated.finished_at <= pod.marked_at)


def _order(pod: PodFacts) -> tuple[bool, float, int]:
    end = pod.terminated.finished_at.timestamp() if pod.terminated else 0.0
    return (pod.marked_at is not None, end, pod.index)


def _of_root(root: PodFacts, pods: Sequence[PodFacts]) -> Cause:
    report = report_of(root)
    if report and report.outcome is Outcome.USER_ERROR:
        return _reported(Kind.USER_ERROR, root, report)
    if report and report.outcome is Outcome.PREEMPTED:
        return _preempted(root, report)
    if root.terminated and root.terminated.reason == "OOMKilled":
        message = f"pod {root.name} was killed because it used more memory than its limit"
        return Cause(Kind.FAILED, FailureCode.HOST_OUT_OF_MEMORY, message, evidence=_where(root))
    if taken := _taken(pods):
        return taken
    if report and report.code == StageFailure.TRACKING_UNAVAILABLE:
        return _reported(Kind.WAITING, root, report)
    if report:
        return _reported(Kind.FAILED, root, report)
    code = root.terminated.exit_code if root.terminated else 0
    message = f"pod {root.name} ended with exit code {code} and without a report"
    return Cause(Kind.FAILED, FailureCode.INTERNAL_ERROR, message, evidence=_where(root))


def _without_root(job: JobFacts | None, pods: Sequence[PodFacts]) -> Cause:
    for pod in pods:
        report = report_of(pod)
        if report and report.outcome is Outcome.PREEMPTED:
            return _preempted(pod, report)
    if taken := _taken(pods):
        return taken
    rejected = next((pod for pod in pods if pod.status_reason), None)
    if rejected:
        message = f"pod {rejected.name} was ended by its node: {rejected.status_reason}: {rejected.status_message}"
        return Cause(Kind.DISRUPTED, Reason.PREEMPTED, message, evidence=_where(rejected))
    if pods:
        return Cause(Kind.DISRUPTED, Reason.PREEMPTED, f"pod {pods[0].name} was deleted", evidence=_where(pods[0]))
    detail = (job.message if job else "") or "its Job and pods are gone"
    return Cause(Kind.DISRUPTED, Reason.PREEMPTED, f"the attempt was ended from outside: {detail}")


def _taken(pods: Sequence[PodFacts]) -> Cause | None:
    """The cluster took a pod away: its node was short of something, was lost, or was needed for something else."""
    for pod in pods:
        if pod.status_reason == "Evicted" or pod.disruption == "TerminationByKubelet":
            message = f"pod {pod.name} was evicted: {pod.status_message or pod.disruption_message}"
            return Cause(Kind.FAILED, FailureCode.EVICTED, message, evidence=_where(pod))
    for pod in pods:
        if pod.disruption in _NODE_LOST:
            message = f"node {pod.node} of pod {pod.name} was lost: {pod.disruption_message}"
            return Cause(Kind.DISRUPTED, FailureCode.NODE_LOST, message, evidence=_where(pod))
    for pod in pods:
        if pod.disruption:
            message = f"pod {pod.name} was preempted: {pod.disruption_message or pod.disruption}"
            return Cause(Kind.DISRUPTED, Reason.PREEMPTED, message, evidence=_where(pod))
    return None


def _preempted(pod: PodFacts, report: StageReport) -> Cause:
    message = report.message or f"pod {pod.name} was told to stop and saved its work"
    return Cause(Kind.PREEMPTED, Reason.PREEMPTED, message, report.advice, report.evidence or _where(pod), report)


def _reported(kind: Kind, pod: PodFacts, report: StageReport) -> Cause:
    code = report.code if report.code in _CODES else FailureCode.INTERNAL_ERROR
    message = report.message or f"pod {pod.name} reported {code}"
    return Cause(kind, code, message, report.advice, report.evidence or _where(pod), report)


def _where(pod: PodFacts) -> str:
    return f"pod {pod.name}" + (f" on node {pod.node}" if pod.node else "")
