"""How a verb ends: exit codes, and errors of one sentence with advice."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of every verb; never renumbered."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    JOB_FAILED = 3
    NO_ACCESS = 4
    PREEMPTED = 85
    INTERRUPTED = 130


EXIT_CODES = {
    ExitCode.DONE: "Done.",
    ExitCode.REFUSED: "What was asked cannot be done: no such job, a file that is not valid, a request that the cluster"
    " refuses.",
    ExitCode.USAGE: "The command line itself is wrong.",
    ExitCode.JOB_FAILED: "The job that was watched has failed.",
    ExitCode.NO_ACCESS: "No access to the cluster: no kubeconfig, no answer, not logged in, no right.",
    ExitCode.PREEMPTED: "A job that ran on this machine was stopped, and what it learnt is saved: the same command goes"
    " on.",
    ExitCode.INTERRUPTED: "Stopped with Ctrl-C. What runs in the cluster goes on.",
}


class CliError(Exception):
    """A verb cannot do its work: what happened in a sentence, and what to do."""

    def __init__(self, message: str, advice: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.code = code
