"""Log lines: readable by machines or people, and always about a job when one is looked at."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from vernacular_operator.telemetry import logs

LOGGER = logging.getLogger("vernacular_operator.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def lines(form: logs.Format) -> io.StringIO:
    stream = io.StringIO()
    logs.configure("INFO", form, stream)
    return stream


def test_json_lines_name_job_and_attempt() -> None:
    stream = lines("json")
    LOGGER.info("before")
    with logs.about("demo", "hr-bot"):
        LOGGER.info("first %s", "look")
        logs.about_attempt("train", 2)
        LOGGER.warning("gone")
    LOGGER.info("after")

    before, look, gone, after = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert before["message"] == "before"
    assert "job" not in before
    assert (look["level"], look["logger"], look["message"]) == ("INFO", LOGGER.name, "first look")
    assert (look["namespace"], look["job"]) == ("demo", "hr-bot")
    assert "attempt" not in look
    assert (gone["job"], gone["stage"], gone["attempt"]) == ("hr-bot", "train", 2)
    assert "job" not in after


def test_json_keeps_an_exception_on_one_line() -> None:
    stream = lines("json")
    try:
        raise ValueError("no such thing")
    except ValueError:
        LOGGER.exception("failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no such thing" in json.loads(line)["exception"]


def test_text_lines_name_job_and_attempt() -> None:
    stream = lines("text")
    LOGGER.info("idle")
    with logs.about("demo", "hr-bot"):
        logs.about_attempt("train", 2)
        LOGGER.info("gone")

    idle, gone = stream.getvalue().splitlines()
    assert idle.endswith("INFO vernacular_operator.test: idle")
    assert gone.endswith("INFO vernacular_operator.test [demo/hr-bot train-2]: gone")


def test_an_object_named_by_the_watch_layer_is_the_subject() -> None:
    stream = lines("json")
    LOGGER.warning("stream broke", extra={"k8s_ref": {"namespace": "demo", "name": "hr-bot", "kind": "FineTuneJob"}})

    assert json.loads(stream.getvalue())["job"] == "hr-bot"


async def test_tasks_started_for_a_job_are_about_it() -> None:
    stream = lines("json")

    async def work() -> None:
        LOGGER.info("opened")

    with logs.about("demo", "hr-bot"):
        task = asyncio.create_task(work())
    await task

    assert json.loads(stream.getvalue())["job"] == "hr-bot"
