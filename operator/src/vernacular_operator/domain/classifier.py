"""Why an attempt ended: one ordered table of rules over its pods. The first rule that fits names the cause.

Reports of pods come first, then what Kubernetes says of containers, pods and nodes. The root is the earliest pod that
ended badly by itself; what pods report that were told to end after it is a consequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vernacular.api import FAILURES, Consequence, FailureCode, Reason
from vernacular_operator.domain.reports import report_of, root_of
from vernacular_operator.domain.snapshot import JobFacts, PodFacts
from vernacular_trainer.contract import Outcome, StageFailure, StageReport

_NODE_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
_CODES = frozenset(StageFailure)


class Kind(StrEnum):
    """What follows from a cause."""

    USER_ERROR = "UserError"  # never retried
    PREEMPTED = "Preempted"  # the pod saved its work: continued from there
    DISRUPTED = "Disrupted"  # the cluster took the pods away: continued from the last checkpoint
    WAITING = "Waiting"  # something outside is away: tried again, costs nothing
    OUT_OF_MEMORY = "OutOfMemory"  # a training is repaired, anything else retried
    FAILED = "Failed"  # retried within the budget


_KINDS = {
    Consequence.REPAIRED: Kind.OUT_OF_MEMORY,
    Consequence.WAITED_FOR: Kind.WAITING,
}


@dataclass(frozen=True)
class Cause:
    """Why an attempt ended. `code` is a failure code, or Preempted."""

    kind: Kind
    code: str
    message: str
    advice: str = ""
    evidence: str = ""
    report: StageReport | None = None


@dataclass(frozen=True)
class Scene:
    """What is left of an attempt: its Job (None when that is gone), its pods, the root among them and its report."""

    job: JobFacts | None
    pods: Sequence[PodFacts]
    root: PodFacts | None
    report: StageReport | None

    @classmethod
    def of(cls, job: JobFacts | None, pods: Sequence[PodFacts]) -> Scene:
        """The scene with its root found and the root's report read."""
        root = root_of(pods)
        return cls(job, pods, root, report_of(root) if root else None)

    def first(self, condition: Callable[[PodFacts], bool]) -> PodFacts | None:
        """The first pod, by index, that meets a condition."""
        return next((pod for pod in self.pods if condition(pod)), None)


@dataclass(frozen=True)
class Rule:
    """`seen` says for people when the rule fits; `judge` gives the cause, None when it does not fit."""

    code: str
    seen: str
    judge: Callable[[Scene], Cause | None]


def cause_of(job: JobFacts | None, pods: Sequence[PodFacts]) -> Cause:
    """Why an attempt that is over, or is ending, did not succeed. `job` is None when the Job itself is gone."""
    scene = Scene.of(job, pods)
    return next(cause for rule in RULES if (cause := rule.judge(scene)) is not None)


def _reported_user_error(scene: Scene) -> Cause | None:
    root, report = scene.root, scene.report
    if root is None or report is None or report.outcome is not Outcome.USER_ERROR:
        return None
    return _as_reported(Kind.USER_ERROR, _code_of(report), root, report)


def _saved_its_work(scene: Scene) -> Cause | None:
    pod, report = scene.root, scene.report
    if pod is None and (pod := scene.first(_reports_preemption)):
        report = report_of(pod)
    if pod is None or report is None or report.outcome is not Outcome.PREEMPTED:
        return None
    message = report.message or f"pod {pod.name} was told to stop and saved its work"
    return Cause(Kind.PREEMPTED, Reason.PREEMPTED, message, report.advice, report.evidence or where(pod), report)


def _killed_for_memory(scene: Scene) -> Cause | None:
    pod = scene.root
    if pod is None or pod.terminated is None or pod.terminated.reason != "OOMKilled":
        return None
    message = f"pod {pod.name} was killed because it used more memory than its limit"
    return Cause(Kind.OUT_OF_MEMORY, FailureCode.HOST_OUT_OF_MEMORY, message, evidence=where(pod))


def _evicted(scene: Scene) -> Cause | None:
    return _taken_away(
        scene.first(lambda pod: pod.status_reason == "Evicted" or pod.disruption == "TerminationByKubelet"),
        FailureCode.EVICTED,
        lambda pod: f"pod {pod.name} was evicted: {pod.status_message or pod.disruption_message}",
    )


def _node_lost(scene: Scene) -> Cause | None:
    return _taken_away(
        scene.first(lambda pod: pod.disruption in _NODE_LOST),
        FailureCode.NODE_LOST,
        lambda pod: f"node {pod.node} of pod {pod.name} was lost: {pod.disruption_message}",
    )


def _disrupted(scene: Scene) -> Cause | None:
    return _taken_away(
        scene.first(lambda pod: bool(pod.disruption)),
        Reason.PREEMPTED,
        lambda pod: f"pod {pod.name} was preempted: {pod.disruption_message or pod.disruption}",
    )


def _reported(scene: Scene) -> Cause | None:
    root, report = scene.root, scene.report
    if root is None or report is None:
        return None
    code = _code_of(report)
    return _as_reported(_KINDS.get(FAILURES[code].consequence, Kind.FAILED), code, root, report)


def _without_report(scene: Scene) -> Cause | None:
    pod = scene.root
    if pod is None or pod.terminated is None:
        return None
    message = f"pod {pod.name} ended with exit code {pod.terminated.exit_code} and without a report"
    return Cause(Kind.FAILED, FailureCode.INTERNAL_ERROR, message, evidence=where(pod))


def _ended_by_node(scene: Scene) -> Cause | None:
    return _taken_away(
        scene.first(lambda pod: bool(pod.status_reason)),
        Reason.PREEMPTED,
        lambda pod: f"pod {pod.name} was ended by its node: {pod.status_reason}: {pod.status_message}",
    )


def _deleted(scene: Scene) -> Cause | None:
    return _taken_away(next(iter(scene.pods), None), Reason.PREEMPTED, lambda pod: f"pod {pod.name} was deleted")


def _nothing_left(scene: Scene) -> Cause:
    detail = (scene.job.message if scene.job else "") or "its Job and pods are gone"
    return Cause(Kind.DISRUPTED, Reason.PREEMPTED, f"the attempt was ended from outside: {detail}")


RULES = (
    Rule("as reported", "exit code 78 and a report that says the same", _reported_user_error),
    Rule(Reason.PREEMPTED, "exit code 85 and a report that says the same", _saved_its_work),
    Rule(FailureCode.HOST_OUT_OF_MEMORY, "container state OOMKilled, whatever the exit code", _killed_for_memory),
    Rule(FailureCode.EVICTED, "pod reason Evicted, or disruption TerminationByKubelet", _evicted),
    Rule(FailureCode.NODE_LOST, "disruption DeletionByTaintManager or DeletionByPodGC", _node_lost),
    Rule(Reason.PREEMPTED, "any other disruption: preemption by priority, eviction by the API, a drain", _disrupted),
    Rule("as reported", "exit code 203 and a report that says the same", _reported),
    Rule(FailureCode.INTERNAL_ERROR, "any other exit code, or no report", _without_report),
    Rule(Reason.PREEMPTED, "the node ended the pod for a reason of its own", _ended_by_node),
    Rule(Reason.PREEMPTED, "the pod was deleted and left no report", _deleted),
    Rule(Reason.PREEMPTED, "the Job is gone or failed, and no pod is left", _nothing_left),
)


def where(pod: PodFacts) -> str:
    """The pod and its node, as evidence."""
    return f"pod {pod.name}" + (f" on node {pod.node}" if pod.node else "")


def _reports_preemption(pod: PodFacts) -> bool:
    report = report_of(pod)
    return report is not None and report.outcome is Outcome.PREEMPTED


def _code_of(report: StageReport) -> FailureCode:
    return FailureCode(report.code) if report.code in _CODES else FailureCode.INTERNAL_ERROR


def _taken_away(pod: PodFacts | None, code: str, tell: Callable[[PodFacts], str]) -> Cause | None:
    return Cause(Kind.DISRUPTED, code, tell(pod), evidence=where(pod)) if pod else None


def _as_reported(kind: Kind, code: FailureCode, pod: PodFacts, report: StageReport) -> Cause:
    message = report.message or f"pod {pod.name} reported {code}"
    return Cause(kind, code, message, report.advice, report.evidence or where(pod), report)
