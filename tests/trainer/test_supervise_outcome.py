"""How a stage's end is judged from the reports of its processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vernacular_trainer.contract import Outcome, StageFailure, StageReport
from vernacular_trainer.errors import USER_FIXABLE, Preempted, StageError, location_of, report_of
from vernacular_trainer.outcomes import Ending, OutcomeFolder, judge

DONE = StageReport(Outcome.DONE, summary={"step": 3})
LOST = StageReport(Outcome.INTERNAL, code="InternalError", message="connection lost")
NAN = StageReport(Outcome.INTERNAL, code="NonFiniteLoss")
MEMORY = StageReport(Outcome.INTERNAL, code="GpuOutOfMemory")
PREEMPTED = StageReport(Outcome.PREEMPTED, summary={"step": 2})
EARLY = StageReport(Outcome.PREEMPTED)


def folder_with(path: Path, *reports: StageReport | None) -> OutcomeFolder:
    """Reports by rank, written one after another; None: this rank wrote nothing."""
    outcomes = OutcomeFolder(path, len(reports))
    for rank, report in enumerate(reports):
        if report is not None:
            outcomes.mark_started(rank)
            outcomes.write(rank, report)
            os.utime(path / f"rank-{rank}.json", ns=(rank, rank))
    return outcomes


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ((DONE,), DONE),
        ((DONE, DONE), DONE),
        ((LOST, MEMORY), MEMORY),
        ((LOST, NAN), NAN),
        ((PREEMPTED, MEMORY), MEMORY),
        ((PREEMPTED, LOST), PREEMPTED),
        ((EARLY, PREEMPTED), PREEMPTED),
        ((DONE, LOST), LOST),
        ((None, MEMORY), MEMORY),
        ((None, PREEMPTED), PREEMPTED),
        # the launcher stopped the second rank because the first had failed
        ((LOST, EARLY), LOST),
        ((EARLY, LOST), LOST),
    ],
)
def test_the_cause_wins_over_its_consequences(
    tmp_path: Path, reports: tuple[StageReport | None, ...], expected: StageReport
) -> None:
    # the launcher always says 1, as torchrun does
    assert judge(folder_with(tmp_path, *reports), Ending(exit_code=1)) == expected


def test_a_process_that_hung_is_the_cause(tmp_path: Path) -> None:
    stuck = Ending(exit_code=-9, killed=True, hung="process 1 was in a step for more than 900 s")

    report = judge(folder_with(tmp_path, LOST, None), stuck)

    assert (report.outcome, report.code) == (Outcome.INTERNAL, "Hang")
    assert report.message == "the training hung: process 1 was in a step for more than 900 s"
    assert judge(folder_with(tmp_path, NAN, None), stuck) == NAN


def test_a_rank_without_a_report_was_killed(tmp_path: Path) -> None:
    report = judge(folder_with(tmp_path, LOST, None), Ending(exit_code=-9))
    assert (report.outcome, report.code) == (Outcome.INTERNAL, "InternalError")
    assert "process 1 of 2" in report.message
    assert "-9" in report.evidence


@pytest.mark.parametrize("others", [(DONE, None), (LOST, None), (NAN, None), (None, None)])
def test_a_rank_that_the_kernel_killed_for_memory_is_the_cause(
    tmp_path: Path, others: tuple[StageReport | None, ...]
) -> None:
    report = judge(folder_with(tmp_path, *others), Ending(1), out_of_memory=True)

    assert (report.outcome, report.code) == (Outcome.INTERNAL, "HostOutOfMemory")


def test_a_helper_process_that_was_killed_for_memory_does_not_spoil_a_training(tmp_path: Path) -> None:
    assert judge(folder_with(tmp_path, DONE, DONE), Ending(0), out_of_memory=True) == DONE


def test_a_rank_that_was_stopped_because_another_was_killed(tmp_path: Path) -> None:
    assert judge(folder_with(tmp_path, None, EARLY), Ending(exit_code=1)).code == "InternalError"


def test_a_request_to_stop_while_loading(tmp_path: Path) -> None:
    assert judge(folder_with(tmp_path, LOST, EARLY), Ending(exit_code=1, stopped=True)) == EARLY


def test_no_report_after_a_request_to_stop_is_a_preemption(tmp_path: Path) -> None:
    report = judge(folder_with(tmp_path, None, None), Ending(exit_code=1, stopped=True))
    assert report.outcome is Outcome.PREEMPTED
    assert report.summary == {}


def test_pods_that_did_not_meet(tmp_path: Path) -> None:
    report = judge(folder_with(tmp_path, None), Ending(exit_code=1), pods=2)
    assert (report.outcome, report.code) == (Outcome.INTERNAL, "RendezvousTimeout")


def test_pods_that_met_and_then_failed(tmp_path: Path) -> None:
    outcomes = folder_with(tmp_path, None)
    outcomes.mark_started(0)
    assert judge(outcomes, Ending(exit_code=1), pods=2).code == "InternalError"


def test_all_reported(tmp_path: Path) -> None:
    assert folder_with(tmp_path / ".", DONE, DONE).all_reported()
    assert not OutcomeFolder(tmp_path, 3).all_reported()


def test_every_code_has_its_outcome() -> None:
    memory = {"GpuOutOfMemory", "HostOutOfMemory"}
    away = {"TrackingUnavailable", "SourceUnavailable"}
    internal = {"NonFiniteLoss", "RendezvousTimeout", "Hang", "InternalError"} | memory | away
    assert {code.value for code in StageFailure} - {code.value for code in USER_FIXABLE} == internal
    assert StageError(StageFailure.NON_FINITE_LOSS, "m", "a").report().outcome is Outcome.INTERNAL
    assert StageError(StageFailure.MODEL_NOT_FOUND, "m", "a").report().outcome is Outcome.USER_ERROR


def test_an_unknown_exception_is_named_but_not_quoted() -> None:
    try:
        int("the salary of Jane Doe")
    except ValueError as error:
        report = report_of(error)
    assert (report.outcome, report.code) == (Outcome.INTERNAL, "InternalError")
    assert "Jane" not in report.to_json()
    assert report.evidence.startswith("ValueError at test_supervise_outcome.py:")
    assert location_of(ValueError("never raised")) == "ValueError"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_recognised_through_other_exceptions(error: Exception) -> None:
    try:
        try:
            raise error
        except type(error) as cause:
            raise RuntimeError("cannot save") from cause
    except RuntimeError as outer:
        report = report_of(outer)
    assert (report.outcome, report.code) == (Outcome.USER_ERROR, "DiskFull")
    assert "larger volume" in report.advice


def test_a_gpu_without_memory_is_recognised() -> None:
    import torch

    report = report_of(torch.OutOfMemoryError("CUDA out of memory"))
    assert (report.outcome, report.code) == (Outcome.INTERNAL, "GpuOutOfMemory")
    assert "maxSequenceLength" in report.advice


def test_a_preemption_passes_through_handlers_of_exceptions() -> None:
    assert not issubclass(Preempted, Exception)
    assert report_of(Preempted()).outcome is Outcome.PREEMPTED
