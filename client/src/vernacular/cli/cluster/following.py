"""One job as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from vernacular.cli.cluster.client import ApiError, UnreachableError
from vernacular.cli.cluster.jobs import Jobs, refusals
from vernacular.cli.errors import CliError

Json = dict[str, Any]

_PATIENCE_SECONDS = 300
_PAUSE_SECONDS = 2
_NOT_FOUND = 404
# 410: the version to watch from is too old
_PASSING = frozenset({410, 429, 500, 502, 503, 504})


def versions(jobs: Jobs, name: str, note: Callable[[str], None]) -> Iterator[Json]:
    """The job as it is and as it changes, until it is deleted.

    A server that goes away is waited for, and `note` is told. Raises CliError.
    """
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
                note(f"{error.message}; trying again")
        # the server ends every watch after a while
        time.sleep(_PAUSE_SECONDS)


def _passes(error: CliError) -> bool:
    return isinstance(error, UnreachableError) or _status(error) in _PASSING


def _status(error: CliError) -> int:
    return error.__cause__.code if isinstance(error.__cause__, ApiError) else 0
