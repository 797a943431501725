"""The root cause of a failed attempt, among pods that ended for different reasons."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.worlds import NOW, child, ended, pod, preempted_report
from vernacular.api import FailureCode, Stage
from vernacular_operator.domain.classifier import RULES, Kind, Scene, cause_of
from vernacular_operator.domain.snapshot import PodFacts
from vernacular_trainer.contract import Outcome, StageReport

USER_ERROR = StageReport(
    Outcome.USER_ERROR, code="DatasetSchema", message="row 3", advice="mend it", evidence="a.jsonl:3"
)
INTERNAL = StageReport(Outcome.INTERNAL, code="RendezvousTimeout", message="no peer came")
GPU = StageReport(Outcome.INTERNAL, code="GpuOutOfMemory", message="no memory left")
AWAY = StageReport(Outcome.INTERNAL, code="TrackingUnavailable", message="MLflow does not answer")


def train(index: int = 0, **changes: object) -> PodFacts:
    return ended(Stage.TRAIN, 1, index, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pods", "kind", "code"),
    [
        pytest.param(
            [train(exit_code=78, report=USER_ERROR)], Kind.USER_ERROR, "DatasetSchema", id="78 with its report"
        ),
        pytest.param([train(exit_code=78)], Kind.FAILED, "InternalError", id="78 without a report is internal"),
        pytest.param(
            [train(exit_code=1, report=USER_ERROR)],
            Kind.FAILED,
            "InternalError",
            id="a report that another exit code belies",
        ),
        pytest.param(
            [train(exit_code=85, report=preempted_report(9))], Kind.PREEMPTED, "Preempted", id="85 with its report"
        ),
        pytest.param([train(exit_code=85)], Kind.FAILED, "InternalError", id="85 without a report is internal"),
        pytest.param(
            [train(exit_code=203, report=INTERNAL)], Kind.FAILED, "RendezvousTimeout", id="203 keeps its code"
        ),
        pytest.param(
            [train(exit_code=203, report=AWAY)], Kind.WAITING, "TrackingUnavailable", id="MLflow away is waited for"
        ),
        pytest.param(
            [train(exit_code=1, reason="OOMKilled")],
            Kind.OUT_OF_MEMORY,
            "HostOutOfMemory",
            id="OOMKilled whatever the code",
        ),
        pytest.param(
            [train(exit_code=203, report=GPU)], Kind.OUT_OF_MEMORY, "GpuOutOfMemory", id="a GPU without memory"
        ),
        pytest.param(
            [train(exit_code=203, report=StageReport(Outcome.INTERNAL, code="Hang"))], Kind.FAILED, "Hang", id="a hang"
        ),
        pytest.param(
            [pod(Stage.TRAIN, phase="Failed", running=False, status_reason="OutOfcpu")],
            Kind.DISRUPTED,
            "Preempted",
            id="refused by its node",
        ),
        pytest.param(
            [pod(Stage.TRAIN, phase="Failed", running=False, status_reason="Evicted", status_message="low on disk")],
            Kind.DISRUPTED,
            "Evicted",
            id="evicted by its node",
        ),
        pytest.param(
            [pod(Stage.TRAIN, disruption="DeletionByTaintManager", deletion_time=NOW)],
            Kind.DISRUPTED,
            "NodeLost",
            id="node lost",
        ),
        pytest.param(
            [
                train(exit_code=1, report=None, after=70),
                pod(Stage.TRAIN, index=1, disruption="DeletionByTaintManager", deletion_time=NOW),
            ],
            Kind.DISRUPTED,
            "NodeLost",
            id="a survivor of a lost node",
        ),
        pytest.param(
            [pod(Stage.TRAIN, disruption="PreemptionByScheduler", gone=True)],
            Kind.DISRUPTED,
            "Preempted",
            id="preempted",
        ),
        pytest.param([], Kind.DISRUPTED, "Preempted", id="no pods at all"),
        pytest.param([pod(Stage.TRAIN, gone=True)], Kind.DISRUPTED, "Preempted", id="a pod that vanished"),
    ],
)
def test_cause(pods: list[PodFacts], kind: Kind, code: str) -> None:
    cause = cause_of(child(Stage.TRAIN, failed=True, message="backoff limit"), pods)

    assert (cause.kind, cause.code) == (kind, code)
    assert cause.message


def test_the_earliest_pod_that_was_not_told_to_end_is_the_cause() -> None:
    collateral = train(
        0, exit_code=143, after=1, marked_at=NOW + timedelta(seconds=0.5), deletion_time=NOW + timedelta(seconds=31)
    )
    first = train(1, exit_code=203, after=2, report=INTERNAL)
    later = train(2, exit_code=1, after=3)

    assert cause_of(child(Stage.TRAIN, failed=True), [collateral, first, later]).code == "RendezvousTimeout"


def test_a_deleted_pod_that_saved_its_work_is_a_preemption() -> None:
    marked = {"marked_at": NOW - timedelta(seconds=5), "deletion_time": NOW + timedelta(seconds=25), "gone": True}
    cause = cause_of(None, [train(exit_code=85, report=preempted_report(9), **marked)])

    assert cause.kind is Kind.PREEMPTED
    assert cause.report is not None


def test_a_rank_that_saved_because_another_crashed_is_no_preemption() -> None:
    crashed = train(1, exit_code=1, after=2)
    saved = train(0, exit_code=85, report=preempted_report(9), after=4, marked_at=NOW + timedelta(seconds=3))

    assert cause_of(child(Stage.TRAIN, failed=True), [saved, crashed]).kind is Kind.FAILED


def test_every_rule_is_the_first_that_fits_somewhere() -> None:
    """A rule that an earlier one always hides would explain nothing."""
    taken = {"phase": "Failed", "running": False}
    scenes = [
        [train(exit_code=78, report=USER_ERROR)],
        [train(exit_code=85, report=preempted_report(9))],
        [train(exit_code=137, reason="OOMKilled")],
        [pod(Stage.TRAIN, **taken, status_reason="Evicted")],
        [pod(Stage.TRAIN, disruption="DeletionByPodGC")],
        [pod(Stage.TRAIN, disruption="EvictionByEvictionAPI")],
        [train(exit_code=203, report=INTERNAL)],
        [train(exit_code=1)],
        [pod(Stage.TRAIN, **taken, status_reason="UnexpectedAdmissionError")],
        [pod(Stage.TRAIN, gone=True)],
        [],
    ]
    found = [_first_rule(pods) for pods in scenes]

    assert found == list(range(len(RULES)))


def _first_rule(pods: list[PodFacts]) -> int:
    scene = Scene.of(child(Stage.TRAIN, failed=True), pods)
    return next(number for number, rule in enumerate(RULES) if rule.judge(scene))


def test_an_unknown_code_of_a_report_is_an_internal_error() -> None:
    strange = StageReport(Outcome.USER_ERROR, code="From another release", message="?")
    cause = cause_of(child(Stage.TRAIN), [train(exit_code=78, report=strange)])

    assert cause.code == FailureCode.INTERNAL_ERROR
