"""How the processes of one stage tell their supervisor how they ended, and how it judges the whole from the parts.

Each local rank leaves a `rank-<n>.started` mark and, at its end, a report `rank-<n>.json` in a folder of the pod's
own disk. The launcher's exit code says nothing: torchrun turns every one into 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vernacular_trainer.contract import Outcome, StageFailure, StageReport
from vernacular_trainer.errors import StageError, preempted_report


@dataclass(frozen=True)
class OutcomeFolder:
    """The marks and reports of the `ranks` local processes of one stage."""

    path: Path
    ranks: int = 1

    def mark_started(self, rank: int) -> None:
        """Say that the process of this rank runs."""
        (self.path / f"rank-{rank}.started").touch()

    def write(self, rank: int, report: StageReport) -> None:
        """Leave the report of a rank; atomic, so that a reader never sees half of it."""
        draft = self.path / f"rank-{rank}.draft"
        draft.write_text(report.to_json(), encoding="utf-8")
        draft.rename(self.path / f"rank-{rank}.json")

    def any_started(self) -> bool:
        """Whether at least one rank came to run."""
        return any(self.path.glob("rank-*.started"))

    def has_reported(self, rank: int) -> bool:
        """Whether a rank has left its report."""
        return (self.path / f"rank-{rank}.json").exists()

    def all_reported(self) -> bool:
        """Whether every local rank has left its report."""
        return all(map(self.has_reported, range(self.ranks)))

    def reports(self) -> list[tuple[int, StageReport]]:
        """The reports by rank, earliest first."""
        files = [(rank, self.path / f"rank-{rank}.json") for rank in range(self.ranks)]
        written = sorted((item for item in files if item[1].exists()), key=lambda item: item[1].stat().st_mtime_ns)
        return [(rank, StageReport.from_json(path.read_text(encoding="utf-8"))) for rank, path in written]


@dataclass(frozen=True)
class Ending:
    """How the launcher ended. `exit_code` is negative for a signal; `stopped`: somebody asked this pod to stop;
    `killed`: the launcher did not end by itself in time; `hung`: what it was killed for when a process was stuck.
    """

    exit_code: int
    stopped: bool = False
    killed: bool = False
    hung: str = ""


def judge(outcomes: OutcomeFolder, ending: Ending, *, pods: int = 1, out_of_memory: bool = False) -> StageReport:
    """The report of the whole stage in this pod. `out_of_memory`: the kernel killed one of its processes for memory.

    A failure with a name of its own wins over a preemption, and that over a nameless failure: when one rank leaves,
    the others lose their connection and report an unexpected error, which is only a consequence.
    """
    reports = outcomes.reports()
    missing = sorted(set(range(outcomes.ranks)) - {rank for rank, _ in reports})
    if missing and out_of_memory:
        return _out_of_memory(missing[0], outcomes.ranks)
    named = [report for _, report in reports if _is_named_failure(report)]
    if named:
        return named[0]
    preempted = [item for item in reports if _is_preemption(item[1], ending)]
    if preempted:
        return min(preempted, key=lambda item: (not item[1].summary, item[0]))[1]
    if ending.hung:
        return _hang(ending.hung)
    if missing:
        return _judge_without_reports(outcomes, ending, missing, pods)
    failed = [report for _, report in reports if report.outcome is Outcome.INTERNAL]
    return failed[0] if failed else dict(reports)[0]


def _out_of_memory(rank: int, ranks: int) -> StageReport:
    return StageError(
        StageFailure.HOST_OUT_OF_MEMORY,
        f"process {rank} of {ranks} was killed because the pod used more memory than its limit",
        "raise the stage's memory limit, or use fewer processes a pod or a shorter training.maxSequenceLength",
        "oom_kill of the pod's control group",
    ).report()


def _hang(what: str) -> StageReport:
    return StageError(
        StageFailure.HANG,
        f"the training hung: {what}",
        "it is tried again from the last checkpoint; if it stays, check the GPUs, network and storage of its nodes",
    ).report()


def _is_named_failure(report: StageReport) -> bool:
    if report.outcome is Outcome.USER_ERROR:
        return True
    return report.outcome is Outcome.INTERNAL and report.code != StageFailure.INTERNAL_ERROR


def _is_preemption(report: StageReport, ending: Ending) -> bool:
    # torchrun, too, ends the other ranks with SIGTERM when one has failed; one that has saved was asked by all of them
    return report.outcome is Outcome.PREEMPTED and (ending.stopped or bool(report.summary))


def _judge_without_reports(outcomes: OutcomeFolder, ending: Ending, missing: list[int], pods: int) -> StageReport:
    if ending.stopped:
        return preempted_report("stopped on request before the stage could save anything")
    if pods > 1 and not outcomes.any_started():
        return StageError(
            StageFailure.RENDEZVOUS_TIMEOUT,
            f"the {pods} pods of the training did not find each other",
            "it is tried again; if it stays, check that all its pods can run at the same time and reach each other",
            f"launcher ended with {ending.exit_code}",
        ).report()
    return StageError(
        StageFailure.INTERNAL_ERROR,
        f"process {missing[0]} of {outcomes.ranks} ended without a report: it was killed or it crashed",
        "it is tried again; if it stays, see the pod's log",
        f"launcher ended with {ending.exit_code}",
    ).report()
