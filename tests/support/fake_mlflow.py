"""MLflow's REST API as far as the operator uses it, in memory: as many calls a second as chaos needs.

Its answers are held to those of a real server by a test.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.threaded_server import ThreadedServer

Json = dict[str, Any]
_TAG = re.compile(r"^tags\.`(?P<key>[^`]+)` = '(?P<value>[^']*)'$")
_STATUS = re.compile(r"^attributes\.status = '(?P<value>\w+)'$")
_IDS = re.compile(r"^attributes\.run_id IN \((?P<ids>.*)\)$")
_API = "/api/2.0/mlflow/"
_UID = "vernacular.dev/uid"


@dataclass
class FakeRun:
    """One run; `end_time` in milliseconds since 1970."""

    run_id: str
    experiment_id: str
    name: str
    start_time: int
    tags: dict[str, str]
    status: str = "RUNNING"
    end_time: int | None = None
    deleted: bool = False
    metrics: dict[str, Json] = field(default_factory=dict)
    params: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        info = {
            "run_id": self.run_id, "run_uuid": self.run_id, "run_name": self.name, "status": self.status,
            "experiment_id": self.experiment_id, "start_time": self.start_time,
            "lifecycle_stage": "deleted" if self.deleted else "active",
        }  # fmt: skip
        tags = [{"key": key, "value": value} for key, value in self.tags.items()]
        end = {} if self.end_time is None else {"end_time": self.end_time}
        return {
            "info": info | end,
            "data": {"tags": tags, "metrics": list(self.metrics.values()), "params": self.params},
        }


class FakeMlflow(ThreadedServer):
    """`delay` gives the seconds that a call takes; a client that does not wait so long is answered in vain."""

    def __init__(self, delay: Callable[[str], float] = lambda _: 0.0) -> None:
        super().__init__("fake-mlflow")
        self.delay = delay
        self.runs: dict[str, FakeRun] = {}
        self._of_job: dict[str, list[FakeRun]] = {}
        self._experiments: dict[str, str] = {}

    def runs_of(self, uid: str) -> list[FakeRun]:
        """Every run that stands for the job with this uid."""
        return [run for run in self._of_job.get(uid, ()) if not run.deleted]

    @asynccontextmanager
    async def application(self) -> AsyncIterator[web.Application]:
        application = web.Application()
        application.router.add_post(_API + "{path:.*}", self._handle)
        application.router.add_get(_API + "{path:.*}", self._handle)
        yield application

    def answer(self, path: str, body: Json) -> tuple[int, Json]:
        """HTTP status and document for a call."""
        calls: Mapping[str, Callable[[Json], Json]] = {
            "experiments/get-by-name": self._experiment_by_name,
            "experiments/create": self._create_experiment,
            "experiments/search": self._search_experiments,
            "runs/create": self._create_run,
            "runs/search": self._search_runs,
            "runs/update": self._update_run,
            "runs/log-batch": self._log_batch,
            "runs/set-tag": self._set_tag,
            "runs/delete": self._delete_run,
        }
        if path not in calls:
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}
        try:
            return 200, calls[path](body)
        except _RefusedError as refusal:
            return refusal.status, refusal.body

    async def _handle(self, request: web.Request) -> web.Response:
        body = dict(request.query) if request.method == "GET" else await request.json()
        path = request.match_info["path"]
        await asyncio.sleep(self.delay(path))
        status, document = self.answer(path, body)
        return web.json_response(document, status=status)

    def _experiment_by_name(self, body: Json) -> Json:
        name = body["experiment_name"]
        if (number := self._experiments.get(name)) is None:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"no experiment named {name}")
        return {"experiment": {"experiment_id": number, "name": name}}

    def _create_experiment(self, body: Json) -> Json:
        if body["name"] in self._experiments:
            raise _RefusedError(400, "RESOURCE_ALREADY_EXISTS", f"experiment {body['name']} exists")
        number = self._experiments[body["name"]] = str(len(self._experiments) + 1)
        return {"experiment_id": number}

    def _search_experiments(self, body: Json) -> Json:
        found = [{"experiment_id": number, "name": name} for name, number in self._experiments.items()]
        return _page("experiments", found, body)

    def _create_run(self, body: Json) -> Json:
        tags = {tag["key"]: tag["value"] for tag in body.get("tags", ())}
        run = FakeRun(uuid.uuid4().hex, body["experiment_id"], body["run_name"], body["start_time"], tags)
        self.runs[run.run_id] = run
        self._of_job.setdefault(tags.get(_UID, ""), []).append(run)
        return {"run": run.to_json()}

    def _search_runs(self, body: Json) -> Json:
        texts = [text for text in body.get("filter", "").split(" AND ") if text]
        conditions = [_condition(text) for text in texts]
        found = [
            run.to_json()
            for run in self._candidates(texts)
            if run.experiment_id in body["experiment_ids"] and not run.deleted and all(item(run) for item in conditions)
        ]
        return _page("runs", found, body)

    def _candidates(self, texts: list[str]) -> Iterable[FakeRun]:
        """Runs that can meet the conditions: the run of one job is looked up, since thousands of jobs are asked for."""
        for text in texts:
            if (found := _TAG.match(text)) and found["key"] == _UID:
                return self._of_job.get(found["value"], ())
        return self.runs.values()

    def _update_run(self, body: Json) -> Json:
        run = self._active(body)
        run.status = body.get("status", run.status)
        run.end_time = body.get("end_time", run.end_time)
        return {"run_info": run.to_json()["info"]}

    def _set_tag(self, body: Json) -> Json:
        self._active(body).tags[body["key"]] = body["value"]
        return {}

    def _log_batch(self, body: Json) -> Json:
        run = self._active(body)
        run.metrics.update({item["key"]: item for item in body["metrics"]})
        run.tags.update({item["key"]: item["value"] for item in body["tags"]})
        return {}

    def _delete_run(self, body: Json) -> Json:
        self._run(body).deleted = True
        return {}

    def report(self, run_id: str, step: int, total_steps: int) -> None:
        """What training logs after a step."""
        now = round(time.time() * 1000)
        for name, value in (("progress/step", step), ("progress/total_steps", total_steps), ("train/loss", 0.5)):
            metric = {"key": name, "value": value, "step": step, "timestamp": now}
            self.runs[run_id].metrics[name] = metric

    def _active(self, body: Json) -> FakeRun:
        if (run := self._run(body)).deleted:
            message = f"The run {run.run_id} must be in the 'active' state. Current state is deleted."
            raise _RefusedError(400, "INVALID_PARAMETER_VALUE", message)
        return run

    def _run(self, body: Json) -> FakeRun:
        if (run := self.runs.get(body["run_id"])) is None:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={body['run_id']} not found")
        return run


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


def _condition(text: str) -> Callable[[FakeRun], bool]:
    if found := _TAG.match(text):
        key, value = found["key"], found["value"]
        return lambda run: run.tags.get(key) == value
    if found := _STATUS.match(text):
        status = found["value"]
        return lambda run: run.status == status
    if found := _IDS.match(text):
        ids = {item.strip(" '") for item in found["ids"].split(",")}
        return lambda run: run.run_id in ids
    raise _RefusedError(400, "INVALID_PARAMETER_VALUE", f"filter {text} is not understood")


def _page(name: str, found: list[Json], body: Json) -> Json:
    start, size = int(body.get("page_token") or 0), int(body["max_results"])
    rest = {"next_page_token": str(start + size)} if len(found) > start + size else {}
    return {name: found[start : start + size], **rest}
