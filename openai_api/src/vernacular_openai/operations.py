"""All calls of the API in one table: the server is made of it, and so is the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vernacular_openai import file_calls, job_calls
from vernacular_openai.context import Call
from vernacular_openai.schemas import (
    CheckpointList,
    CreateJob,
    Deleted,
    ErrorBody,
    EventList,
    FileList,
    FileObject,
    FineTuningJob,
    JobList,
    Model,
    ModelList,
)

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_PROJECT = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"
_UPLOAD: Json = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file", "purpose"],
            "additionalProperties": False,
            "properties": {
                "file": {"type": "string", "format": "binary", "minLength": 1},
                "purpose": {"type": "string", "enum": [file_calls.PURPOSE]},
            },
        }
    }
}


@dataclass(frozen=True)
class Operation:
    """One call. `path` as OpenAPI writes it. `answer`: its body, None for the bytes of a file. `body`: what it takes.
    `query`: name and schema of each parameter. `statuses`: errors beside 401, 403 and 503.
    """

    method: str
    path: str
    handle: Callable[[Call], Awaitable[Any]]
    answer: type[BaseModel] | None
    body: type[BaseModel] | Json | None = None
    query: tuple[tuple[str, Json], ...] = ()
    statuses: tuple[int, ...] = (400, 404)

    @property
    def route(self) -> str:
        """The path as the server matches it: names of models have slashes."""
        return self.path.replace("{model}", "{model:.+}")


def _limit(default: int, most: int) -> tuple[str, Json]:
    return "limit", {"type": "integer", "minimum": 1, "maximum": most, "default": default}


_AFTER = ("after", {"type": "string"})
_JOBS = "/v1/fine_tuning/jobs"
_JOB = f"{_JOBS}/{{job_id}}"
_FILE = "/v1/files/{file_id}"
_FILE_QUERY = (
    *(_AFTER, _limit(10_000, 10_000)),
    ("order", {"type": "string", "enum": ["asc", "desc"], "default": "desc"}),
    ("purpose", {"type": "string"}),
)

OPERATIONS = (
    Operation("POST", "/v1/files", file_calls.upload, FileObject, _UPLOAD, statuses=(400, 404, 413)),
    Operation("GET", "/v1/files", file_calls.listed, FileList, query=_FILE_QUERY),
    Operation("GET", _FILE, file_calls.retrieve, FileObject),
    Operation("GET", f"{_FILE}/content", file_calls.content, None),
    Operation("DELETE", _FILE, file_calls.delete, Deleted),
    Operation("POST", _JOBS, job_calls.create, FineTuningJob, CreateJob, statuses=(400, 404, 409, 413)),
    Operation("GET", _JOBS, job_calls.listed, JobList, query=(_AFTER, _limit(20, 100))),
    Operation("GET", _JOB, job_calls.retrieve, FineTuningJob),
    Operation("POST", f"{_JOB}/cancel", job_calls.cancel, FineTuningJob, statuses=(400, 404, 409)),
    Operation("POST", f"{_JOB}/pause", job_calls.pause, FineTuningJob, statuses=(400, 404, 409)),
    Operation("POST", f"{_JOB}/resume", job_calls.resume, FineTuningJob, statuses=(400, 404, 409)),
    Operation("GET", f"{_JOB}/events", job_calls.events, EventList, query=(_AFTER, _limit(20, 100))),
    Operation("GET", f"{_JOB}/checkpoints", job_calls.checkpoints, CheckpointList),
    Operation("GET", "/v1/models", job_calls.models, ModelList),
    Operation("GET", "/v1/models/{model}", job_calls.model, Model),
)


def openapi() -> Json:
    """The OpenAPI document."""
    inputs = {item.body for item in OPERATIONS if isinstance(item.body, type)}
    outputs = {item.answer for item in OPERATIONS if item.answer} | {ErrorBody}
    ordered: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((each, "validation") for each in sorted(inputs, key=lambda each: each.__name__)),
        *((each, "serialization") for each in sorted(outputs, key=lambda each: each.__name__)),
    ]
    _, schemas = models_json_schema(ordered, ref_template=_REF)
    paths: dict[str, Json] = {}
    for item in OPERATIONS:
        paths.setdefault(item.path, {})[item.method.lower()] = _described(item)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vernacular fine-tuning API",
            "version": "1.0.0",
            "description": "The fine-tuning part of the OpenAI API. The API key is a token of Kubernetes, the project a"
            " namespace.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"],
        },
    }


def _described(item: Operation) -> Json:
    described: Json = {
        "operationId": item.handle.__name__ + ("_file" if item.handle.__module__ == file_calls.__name__ else ""),
        "summary": (item.handle.__doc__ or "").strip().partition("\n")[0],
        "parameters": _parameters(item),
        "responses": {
            "200": {"description": "What was asked for.", "content": _content(item.answer)},
            **{
                str(status): {"description": "What is wrong.", "content": _content(ErrorBody)}
                for status in sorted({*item.statuses, 401, 403, 503})
            },
        },
    }
    if item.body:
        body = item.body if isinstance(item.body, dict) else _content(item.body)
        described["requestBody"] = {"required": True, "content": body}
    return described


def _parameters(item: Operation) -> list[Json]:
    project = {"name": "OpenAI-Project", "in": "header", "schema": {"type": "string", "pattern": _PROJECT}}
    paths = re.findall(r"{(\w+)}", item.path)
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in paths),
        *({"name": name, "in": "query", "schema": schema} for name, schema in item.query),
        {**project, "description": "The namespace. Default: that of the caller's service account."},
    ]


def _content(model: type[BaseModel] | None) -> Json:
    if model is None:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
