"""How a stage says that it cannot go on: one exception for every failure, one for a preemption.

The outcome (and with it the exit code) follows from the failure code: USER_FIXABLE codes end with 78 and are not
retried,
every other code is internal, ends with 203 and is retried within the budget of the job.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

from vernacular_trainer.contract import Outcome, StageFailure, StageReport

# A full disk is the user's to fix (a larger volume, fewer checkpoints): the next attempt would meet the same full disk.
# Memory is not: the operator lets the next attempt use less of it.
USER_FIXABLE = frozenset(StageFailure) - {
    StageFailure.GPU_OUT_OF_MEMORY,
    StageFailure.HOST_OUT_OF_MEMORY,
    StageFailure.HANG,
    StageFailure.NON_FINITE_LOSS,
    StageFailure.RENDEZVOUS_TIMEOUT,
    StageFailure.SOURCE_UNAVAILABLE,
    StageFailure.TRACKING_UNAVAILABLE,
    StageFailure.INTERNAL_ERROR,
}

_PACKAGE_ROOT = Path(__file__).resolve().parent
_FULL_DISK_TEXTS = ("no space left on device", "disk quota exceeded")


class StageError(Exception):
    """A stage failed for a known reason.

    `message` says what happened, `advice` what to do, `evidence` where it was seen. None of them may hold text of a
    user's rows.
    """

    def __init__(self, code: StageFailure, message: str, advice: str, evidence: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.advice = advice
        self.evidence = evidence

    def __reduce__(self) -> tuple[type[StageError], tuple[StageFailure, str, str, str]]:
        # else what another process raised could not be read here: an exception is made again from its text alone
        return type(self), (self.code, self.message, self.advice, self.evidence)

    @property
    def outcome(self) -> Outcome:
        """USER_ERROR when the user can fix it, else INTERNAL."""
        return Outcome.USER_ERROR if self.code in USER_FIXABLE else Outcome.INTERNAL

    def report(self) -> StageReport:
        """The same as a termination message."""
        return StageReport(
            outcome=self.outcome, code=self.code, message=self.message, advice=self.advice, evidence=self.evidence
        )


def refused(message: str, advice: str) -> StageError:
    """A setting that cannot work (ArgumentRefused)."""
    return StageError(StageFailure.ARGUMENT_REFUSED, message, advice)


class Preempted(BaseException):
    """The pod was asked to stop and the stage is ready to be continued. No stage swallows it: it is no Exception."""

    def __init__(self, report: StageReport | None = None) -> None:
        super().__init__("asked to stop")
        self.report = report or preempted_report("stopped on request before any result")


def preempted_report(message: str) -> StageReport:
    """A report of a stage that was stopped from outside and has nothing to carry over."""
    return StageReport(outcome=Outcome.PREEMPTED, message=message, advice="nothing to do: the next attempt continues")


def report_of(error: BaseException) -> StageReport:
    """The report of anything that a stage raised.

    The text of an unforeseen exception is withheld, because it may quote a user's data: its type and location are
    given instead.
    """
    if isinstance(error, Preempted):
        return error.report
    if isinstance(error, StageError):
        return error.report()
    return _recognise(error).report()


def _recognise(error: BaseException) -> StageError:
    where = location_of(error)
    if any(is_full_disk(item) for item in _chain(error)):
        return StageError(
            StageFailure.DISK_FULL,
            "a volume is full",
            "give the workspace a larger volume, or keep fewer checkpoints",
            where,
        )
    if any(_is_gpu_out_of_memory(item) for item in _chain(error)):
        return StageError(
            StageFailure.GPU_OUT_OF_MEMORY,
            "the GPU has not enough memory for this training",
            "lower training.maxSequenceLength, or use strategy ZeRO3 over more GPUs",
            where,
        )
    return StageError(
        StageFailure.INTERNAL_ERROR,
        "the stage failed unexpectedly",
        "it is tried again within the job's budget; if it stays, report it with the evidence and the pod's log",
        where,
    )


def location_of(error: BaseException) -> str:
    """Type of an exception and the innermost place of this package that it passed: `ValueError at stages/train.py:41
    (run)`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE_ROOT)]
    if not frames:
        return type(error).__name__
    frame = (own or frames)[-1]
    path = Path(frame.filename)
    name = path.relative_to(_PACKAGE_ROOT).as_posix() if own else path.name
    return f"{type(error).__name__} at {name}:{frame.lineno} ({frame.name})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_full_disk(error: BaseException) -> bool:
    """Whether an exception says that a volume is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors and torch wrap the system's error and keep only its text
    return any(text in str(error).lower() for text in _FULL_DISK_TEXTS)


def _is_gpu_out_of_memory(error: BaseException) -> bool:
    # by name: this module must not import torch
    return any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
