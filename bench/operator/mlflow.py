"""Answers the operator's MLflow calls from memory, so that a figure of the operator is not one of MLflow.

`seconds_per_run` makes a search as slow as a real server's: 2.4 to 3.8 s for 1,000 runs were measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from aiohttp import web

Document = dict[str, Any]
_PARAMETERS = [{"key": f"parameter-{number}", "value": f"value-{number}"} for number in range(75)]
_OTHER_METRICS = [f"system/metric-{number}" for number in range(13)]
_QUOTED = re.compile(r"'([^']*)'")


class MlflowResponder:
    """One experiment store on loopback; `requests` counts calls, `busy` their seconds, by path."""

    def __init__(self, seconds_per_run: float = 0.0) -> None:
        self.seconds_per_run = seconds_per_run
        self.requests: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self.runs: dict[str, Document] = {}
        self._of_job: dict[str, tuple[Document]] = {}
        self._experiments: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.uri = ""

    async def __aenter__(self) -> MlflowResponder:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api/2.0/mlflow/{path:.+}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.uri = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner
        await self._runner.cleanup()

    def report(self, step: int, total: int) -> None:
        """All runs are at this step."""
        moment = round(time.time() * 1000)
        values = {"progress/step": step, "progress/total_steps": total, "train/loss": 1 / (1 + step)}
        values |= dict.fromkeys(_OTHER_METRICS, 1.5)
        metrics = [{"key": key, "value": value, "step": step, "timestamp": moment} for key, value in values.items()]
        for run in self.runs.values():
            run["data"] |= {"metrics": metrics, "params": _PARAMETERS}

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        began = time.monotonic()
        self.requests[path] += 1
        body = await request.json() if request.method == "POST" else dict(request.query)
        status, document = await self._handle(path, body)
        answer = web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")
        self.busy[path] += time.monotonic() - began
        return answer

    async def _handle(self, path: str, body: Document) -> tuple[int, Document]:
        match path:
            case "experiments/get-by-name":
                if found := self._experiments.get(body["experiment_name"]):
                    return 200, {"experiment": {"experiment_id": found}}
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
            case "experiments/create":
                return 200, {"experiment_id": self._experiments.setdefault(body["name"], str(next(self._numbers)))}
            case "experiments/search":
                return 200, {"experiments": [{"experiment_id": each} for each in self._experiments.values()]}
            case "runs/create":
                return 200, {"run": self._create(body)}
            case "runs/search":
                found = list(self._found(body["filter"]))
                await asyncio.sleep(self.seconds_per_run * len(found))
                return 200, {"runs": found}
            case "runs/update":
                self.runs[body["run_id"]]["info"]["status"] = body["status"]
                return 200, {}
            case "runs/set-tag":
                return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"the bench does not play {path}"}

    def _create(self, body: Document) -> Document:
        run_id = f"{next(self._numbers):032x}"
        info = {"run_id": run_id, "experiment_id": body["experiment_id"], "status": "RUNNING"}
        run = self.runs[run_id] = {"info": info, "data": {"tags": body["tags"]}}
        uid = next(tag["value"] for tag in body["tags"] if tag["key"] == "vernacular.dev/uid")
        self._of_job[uid] = (run,)
        return run

    def _found(self, condition: str) -> Iterable[Document]:
        values = _QUOTED.findall(condition)
        if condition.startswith("attributes.run_id IN"):
            return (self.runs[run_id] for run_id in values)
        if condition.startswith("attributes.status"):
            return (run for run in self.runs.values() if run["info"]["status"] == "RUNNING")
        (uid,) = values
        return (run for run in self._of_job.get(uid, ()))
