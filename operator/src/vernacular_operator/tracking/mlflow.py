"""The few calls of MLflow's REST API that the operator makes, by aiohttp.

The official client is synchronous and blocks for minutes when the server is away.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp

from vernacular.proxies import proxy_for
from vernacular_operator.tracking.errors import (
    TrackingConflictError,
    TrackingDeniedError,
    TrackingError,
    TrackingNotFoundError,
    TrackingRefusedError,
    TrackingUnavailableError,
)

_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_PAGE = 1000

Response = aiohttp.ClientResponse


class RunStatus(StrEnum):
    """How a run stands, in MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class Metric:
    """The last value of a metric; `timestamp` in milliseconds since 1970."""

    value: float
    step: int
    timestamp: int


@dataclass(frozen=True)
class Run:
    """A run as the operator needs it."""

    run_id: str
    experiment_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Credentials:
    """Either a bearer token, or user and password, or nothing."""

    token: str = ""
    username: str = ""
    password: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Request headers that carry the credentials."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.username:
            return {"Authorization": aiohttp.encode_basic_auth(self.username, self.password)}
        return {}


class MlflowClient:
    """Calls to one tracking server. Every method raises a subclass of TrackingError when the call fails."""

    def __init__(self, uri: str, credentials: Credentials) -> None:
        self._root = f"{uri}/api/2.0/mlflow"
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    async def experiment_named(self, name: str) -> str:
        """The id of the experiment. Raises TrackingNotFoundError when there is none."""
        answer = await self._call("GET", "experiments/get-by-name", {"experiment_name": name})
        return str(answer["experiment"]["experiment_id"])

    async def create_experiment(self, name: str) -> str:
        """The id of the new experiment. Raises TrackingConflictError when the name is taken."""
        return str((await self._call("POST", "experiments/create", {"name": name}))["experiment_id"])

    async def experiments(self) -> list[str]:
        """The ids of all active experiments."""
        body = {"max_results": _PAGE}
        return [str(item["experiment_id"]) async for item in self._pages("experiments/search", "experiments", body)]

    async def ping(self) -> None:
        """Return when the server answers."""
        await self._call("POST", "experiments/search", {"max_results": 1})

    async def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> Run:
        """Open a run, with status RUNNING."""
        body = {"experiment_id": experiment_id, "run_name": name, "start_time": start_ms, "tags": _pairs(tags)}
        return _run((await self._call("POST", "runs/create", body))["run"])

    async def search_runs(self, experiment_ids: Sequence[str], condition: str, at_most: int = 0) -> list[Run]:
        """All runs of these experiments that meet the condition, in MLflow's filter language.

        One request when there are not more than `at_most`; a page at a time when that is not known.
        """
        body = {"experiment_ids": list(experiment_ids), "filter": condition, "run_view_type": "ACTIVE_ONLY"}
        # a page that is not full has no successor
        size = max(_PAGE, at_most + 1)
        return [_run(item) async for item in self._pages("runs/search", "runs", {**body, "max_results": size})]

    async def update_run(self, run_id: str, status: RunStatus, end_ms: int | None) -> None:
        """Set the status of a run; `end_ms` is its end in milliseconds since 1970."""
        end = {} if end_ms is None else {"end_time": end_ms}
        await self._call("POST", "runs/update", {"run_id": run_id, "status": status, **end})

    async def delete_run(self, run_id: str) -> None:
        """Move a run to MLflow's trash."""
        await self._call("POST", "runs/delete", {"run_id": run_id})

    async def log_batch(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], timestamp: int
    ) -> None:
        """Add a value to each of these metrics of a run, and set tags; `timestamp` in milliseconds since 1970."""
        values = [{"key": key, "value": value, "timestamp": timestamp, "step": 0} for key, value in metrics.items()]
        await self._call("POST", "runs/log-batch", {"run_id": run_id, "metrics": values, "tags": _pairs(tags)})

    async def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set one tag of a run."""
        await self._call("POST", "runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _pages(self, path: str, field: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        token = ""
        while True:
            page = {"page_token": token} if token else {}
            answer = await self._call("POST", path, {**body, **page})
            for item in answer.get(field, ()):
                yield item
            if not (token := answer.get("next_page_token", "")):
                return

    def _request(self, method: str, path: str, content: Mapping[str, Any]) -> AbstractAsyncContextManager[Response]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT, headers=self._credentials.headers, proxy=proxy_for(self._root)
            )
        url = f"{self._root}/{path}"
        if method == "GET":
            return self._session.get(url, params=content)
        return self._session.post(url, json=content)

    async def _call(self, method: str, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with self._request(method, path, content) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TrackingUnavailableError(f"{path}: {error or type(error).__name__}") from None
        return _decode(path, response.status, text)


def _decode(path: str, status: int, text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text or "{}")
    except ValueError:
        answer = None
    if status < 400 and isinstance(answer, dict):
        return answer
    details = answer if isinstance(answer, dict) else {}
    message = f"{path}: HTTP {status}: {details.get('message') or text[:200]}"
    raise _error_type(status, details.get("error_code", ""))(message)


def _error_type(status: int, code: str) -> type[TrackingError]:
    if status in (401, 403) or code == "PERMISSION_DENIED":
        return TrackingDeniedError
    if code == "RESOURCE_ALREADY_EXISTS":
        return TrackingConflictError
    if code == "RESOURCE_DOES_NOT_EXIST":
        return TrackingNotFoundError
    if status == 400:
        return TrackingRefusedError
    return TrackingUnavailableError


def _run(document: dict[str, Any]) -> Run:
    info, data = document["info"], document.get("data", {})
    return Run(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        status=info.get("status", ""),
        tags={item["key"]: item.get("value", "") for item in data.get("tags", ())},
        metrics={
            item["key"]: Metric(float(item["value"]), int(item.get("step", 0)), int(item["timestamp"]))
            for item in data.get("metrics", ())
        },
    )


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
