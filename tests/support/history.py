"""Everything that happened to FineTuneJobs, Jobs and pods of a namespace, in the order in which the server stored it.

Read straight from the API server by watches without gaps, so that it owes nothing to the operator's view. Resource
versions of one server are numbers of one sequence, which makes the three streams one history.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

from support.apiserver import ApiServer

SETTLE_SECONDS = 2.0
_PATHS = {
    "FineTuneJob": "/apis/vernacular.dev/v1alpha1/namespaces/{}/finetunejobs",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
}


class HistoryError(Exception):
    """The history has a gap or is out of order: nothing can be concluded from it."""


@dataclass(frozen=True)
class Change:
    """One stored version of an object. `seen` is when it arrived here, in seconds of the monotonic clock."""

    version: int
    kind: str
    deleted: bool
    object: dict[str, Any]
    seen: float


class History:
    """Watches for as long as the context lasts. The namespace must be empty when it begins."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server = server
        self._namespace = namespace
        self._lock = threading.Lock()
        self._pending: list[Change] = []
        self._errors: list[str] = []
        self._released = 0
        self._stop = threading.Event()
        self._connections: dict[str, http.client.HTTPSConnection] = {}
        self._threads = [
            threading.Thread(target=self._follow, args=(kind, path.format(namespace)), daemon=True)
            for kind, path in _PATHS.items()
        ]

    def __enter__(self) -> History:
        version = self._server.request("GET", _PATHS["Job"].format(self._namespace))["metadata"]["resourceVersion"]
        self._start = int(version)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for connection in self._connections.values():
            if connection.sock:
                connection.sock.shutdown(2)
        for thread in self._threads:
            thread.join(10)

    def take(self) -> list[Change]:
        """What came since the last call and is old enough that nothing earlier is still on its way.

        Raises HistoryError when something earlier did come later, or a watch broke.
        """
        settled = time.monotonic() - SETTLE_SECONDS
        with self._lock:
            if self._errors:
                raise HistoryError("; ".join(self._errors))
            self._pending.sort(key=lambda change: change.version)
            count = next((i for i, change in enumerate(self._pending) if change.seen > settled), len(self._pending))
            taken, self._pending = self._pending[:count], self._pending[count:]
        for change in taken:
            if change.version < self._released:
                raise HistoryError(f"{change.kind} version {change.version} came after {self._released}")
            self._released = change.version
        return taken

    def _follow(self, kind: str, path: str) -> None:
        version = self._start
        while not self._stop.is_set():
            try:
                version = self._watch(kind, path, version)
            except (OSError, http.client.HTTPException, AttributeError) as error:
                if not self._stop.is_set():
                    self._fail(f"{kind}: {error!r}")
                    return

    def _watch(self, kind: str, path: str, version: int) -> int:
        address = urlparse(self._server.address)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=self._server.tls)
        self._connections[kind] = connection
        connection.request("GET", f"{path}?watch=true&timeoutSeconds=3000&resourceVersion={version}")
        answer = connection.getresponse()
        while line := answer.readline():
            event = json.loads(line)
            if event["type"] == "ERROR":
                self._fail(f"{kind}: {event['object']}")
                break
            version = int(event["object"]["metadata"]["resourceVersion"])
            change = Change(version, kind, event["type"] == "DELETED", event["object"], time.monotonic())
            with self._lock:
                self._pending.append(change)
        connection.close()
        return version

    def _fail(self, text: str) -> None:
        with self._lock:
            self._errors.append(text)
