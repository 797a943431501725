"""`vernacular watch`, and what other verbs do with --watch."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from vernacular.cli.cluster.following import versions
from vernacular.cli.cluster.jobs import Jobs, open_jobs
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.screens.layout import rows_of
from vernacular.cli.screens.watch import Course, ended, last_words, line, screen, succeeded
from vernacular.cli.terminal import Terminal, printable

Json = dict[str, Any]


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Follow a job until it ends."""
    return follow(open_jobs(options), options.job, terminal)


def follow(jobs: Jobs, name: str, terminal: Terminal) -> ExitCode:
    """Show a job until it ends; whether it ended well. Raises CliError when it is deleted."""
    view = _Screen(terminal) if terminal.live else _Lines(terminal)
    for job in versions(jobs, name, view.note):
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
