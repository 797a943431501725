"""Logs as lines of text or of JSON; each line says which job, stage and attempt it is about."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Format = Literal["json", "text"]

_TEXT = "%(asctime)s %(levelname)s %(name)s%(subject)s: %(message)s"
_CHATTY = ("kopf.objects", "kopf.activities.probe", "aiohttp.access")
# what a task is about; tasks that it starts inherit it
_SUBJECT: ContextVar[Mapping[str, Any] | None] = ContextVar("subject", default=None)


@contextmanager
def about(namespace: str, name: str) -> Iterator[None]:
    """Everything logged inside is about this job."""
    token = _SUBJECT.set({"namespace": namespace, "job": name})
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def about_attempt(stage: str, attempt: int) -> None:
    """Everything logged from now on, inside `about`, concerns this attempt of a stage."""
    _SUBJECT.set({**(_SUBJECT.get() or {}), "stage": stage, "attempt": attempt})


def configure(level: str, form: Format, stream: TextIO = sys.stderr) -> None:
    """Set up the root logger: one handler, one format."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_add_subject)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and namespace, job, stage, attempt where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **_subject_of(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _add_subject(record: logging.LogRecord) -> bool:
    subject = _subject_of(record)
    key = f"{subject['namespace']}/{subject['job']}" if "job" in subject else ""
    attempt = f" {subject['stage']}-{subject['attempt']}" if "attempt" in subject else ""
    record.subject = f" [{key}{attempt}]" if key else ""
    return True


def _subject_of(record: logging.LogRecord) -> Mapping[str, Any]:
    if subject := _SUBJECT.get():
        return subject
    # the watch layer names the object that it is at
    reference = getattr(record, "k8s_ref", None)
    if not isinstance(reference, Mapping) or not reference.get("name"):
        return {}
    return {"namespace": reference.get("namespace") or "", "job": reference["name"]}
