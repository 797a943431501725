"""Watching a job while the cluster goes away, forgets, and comes back."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.cli_jobs import BROKEN, TRAINING
from vernacular.cli.cluster.client import ApiError, UnreachableError
from vernacular.cli.cluster.jobs import Jobs, refusals
from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.terminal import Terminal
from vernacular.cli.verbs.watch import follow

AWAY = UnreachableError("https://cluster", "no connection")


class Script(Jobs):
    """Answers of a cluster in order: a job when it is read, then what its watch tells; errors are raised."""

    def __init__(self, *answers: Any) -> None:
        self.namespace = "demo"
        self.commands = Commands("vernacular", "demo")
        self._answers = iter(answers)

    def one(self, name: str) -> dict[str, Any]:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            with refusals(self.namespace):
                raise answer
        return {**answer, "metadata": {**answer["metadata"], "uid": "1", "resourceVersion": "7"}}

    def changes(self, name: str, version: str) -> Iterator[tuple[str, dict[str, Any]]]:
        assert version == "7"
        for answer in next(self._answers):
            if isinstance(answer, Exception):
                raise answer
            yield answer


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses take no time, and every look at the clock a minute."""
    minutes = itertools.count(1)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", lambda: 60.0 * next(minutes))


def watched(*answers: Any) -> tuple[ExitCode, str, str]:
    """Exit code, output and notes."""
    out, err = io.StringIO(), io.StringIO()
    code = follow(Script(*answers), "hr-bot", Terminal(out, err, colours=False, live=False))
    return code, out.getvalue(), err.getvalue()


def test_a_cluster_that_goes_away_and_comes_back() -> None:
    code, out, err = watched(TRAINING, [AWAY], AWAY, BROKEN)

    assert code == ExitCode.JOB_FAILED
    assert err.splitlines() == ["the cluster at https://cluster does not answer: no connection; trying again"] * 2
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["Training", "Failed"]
    assert out.splitlines()[-1] == "vernacular explain hr-bot-broken -n demo  says what mends it"


def test_a_screen_is_written_over_with_the_notes_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    follow(Script(TRAINING, [AWAY], BROKEN), "hr-bot", Terminal(screen, screen, colours=False, live=True))

    before, _, rest = screen.getvalue().partition("\x1b[")
    assert before.endswith("trying again\n")
    assert rest.startswith(f"{len(before.splitlines())}F")


def test_a_watch_that_ends_goes_on() -> None:
    code, out, err = watched(TRAINING, [], TRAINING, [("MODIFIED", BROKEN)])

    assert (code, err) == (ExitCode.JOB_FAILED, "")
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize("code", [410, 429, 503])
def test_what_passes_is_waited_for(code: int) -> None:
    assert watched(TRAINING, [ApiError(code, {})], BROKEN)[0] == ExitCode.JOB_FAILED


def test_a_cluster_that_stays_away() -> None:
    with pytest.raises(UnreachableError):
        watched(TRAINING, [AWAY], *([AWAY] * 20))


@pytest.mark.parametrize(("first", "code"), [(AWAY, ExitCode.NO_ACCESS), (ApiError(403, {}), ExitCode.NO_ACCESS)])
def test_a_cluster_that_was_never_there(first: Exception, code: ExitCode) -> None:
    with pytest.raises(CliError) as caught:
        watched(first)

    assert caught.value.code == code


def test_a_right_that_is_lost() -> None:
    with pytest.raises(CliError, match="the cluster refuses"):
        watched(TRAINING, [ApiError(403, {"message": "no"})], ApiError(403, {"message": "no"}))


def test_a_job_that_is_gone_when_the_cluster_is_back() -> None:
    with pytest.raises(CliError, match="hr-bot was deleted while it was watched"):
        watched(TRAINING, [AWAY], ApiError(404, {"reason": "NotFound"}))
