"""`vernacular watch`, and what other verbs do with --watch."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from vernacular.cli.cluster.client import ApiError, UnreachableError
from vernacular.cli.cluster.jobs import Jobs, open_jobs, refusals
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.screens.layout import rows_of
from vernacular.cli.screens.watch import Course, ended, last_words, line, screen, succeeded
from vernacular.cli.terminal import Terminal, printable

Json = dict[str, Any]

_PATIENCE_SECONDS = 300
_PAUSE_SECONDS = 2
_NOT_FOUND = 404
# 410: the version to watch from is too old
_PASSING = frozenset({410, 429, 500, 502, 503, 504})


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Follow a job until it ends."""
    return follow(open_jobs(options), options.job, terminal)


def follow(jobs: Jobs, name: str, terminal: Terminal) -> ExitCode:
    """Show a job until it ends; whether it ended well. Raises CliError when it is deleted."""
    view = _Screen(terminal) if terminal.live else _Lines(terminal)
    for job in _versions(jobs, name, view):
        view.show(job)
        if ended(job):
            terminal.write(last_words(job, jobs.commands))
            return ExitCode.DONE if succeeded(job) else ExitCode.JOB_FAILED
    raise CliError(f"FineTuneJob {name} was deleted while it was watched", "its run in MLflow stays, if it had begun")


class _Screen:
    """Writes over what it wrote before."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._course = Course()
        self._height = 0

    def show(self, job: Json) -> None:
        self._course = self._course.seen(job)
        lines = screen(job, self._course, datetime.now(UTC), self._terminal.paint, self._terminal.width)
        if self._height:
            # up to the first line of the last screen, and clear from there
            self._terminal.out.write(f"\x1b[{self._height}F\x1b[J")
        self._terminal.write(lines)
        self._height = sum(rows_of(text, self._terminal.width) for text in lines)

    def note(self, text: str) -> None:
        self._terminal.note(text)
        if self._height and self._terminal.err.isatty():
            # it stands below the screen, which is written over from its first line on
            self._height += rows_of(text, self._terminal.width)


class _Lines:
    """Writes a line when it says something new."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last = ""

    def show(self, job: Json) -> None:
        text = printable(line(job))
        if text != self._last:
            self._terminal.write([f"{datetime.now(UTC):%H:%M:%S} {text}"])
            self._last = text

    def note(self, text: str) -> None:
        self._terminal.note(text)


def _versions(jobs: Jobs, name: str, view: _Screen | _Lines) -> Iterator[Json]:
    """The job as it is and as it changes, until it is deleted. A server that goes away is waited for."""
    uid, lost_at = "", 0.0
    while True:
        try:
            job = jobs.one(name)
            if job["metadata"]["uid"] != (uid or job["metadata"]["uid"]):
                return
            uid, lost_at = job["metadata"]["uid"], 0.0
            yield job
            with refusals(jobs.namespace):
                for kind, seen in jobs.changes(name, job["metadata"]["resourceVersion"]):
                    if kind == "DELETED":
                        return
                    yield seen
        except CliError as error:
            if uid and _status(error) == _NOT_FOUND:
                return
            lost_at = lost_at or time.monotonic()
            if not (uid and _passes(error)) or time.monotonic() - lost_at > _PATIENCE_SECONDS:
                raise
            if isinstance(error, UnreachableError):
                view.note(f"{error.message}; trying again")
        # the server ends every watch after a while
        time.sleep(_PAUSE_SECONDS)


def _passes(error: CliError) -> bool:
    return isinstance(error, UnreachableError) or _status(error) in _PASSING


def _status(error: CliError) -> int:
    return error.__cause__.code if isinstance(error.__cause__, ApiError) else 0
