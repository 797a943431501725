"""/v1/fine_tuning/jobs and /v1/models: FineTuneJobs, read and written with the caller's own rights."""

from __future__ import annotations

import asyncio
import logging
import secrets
import string
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from vernacular_openai import downloads, parsing, requests, views
from vernacular_openai.context import Call
from vernacular_openai.errors import ApiError, not_found, refused
from vernacular_openai.kubernetes import MERGE_PATCH, NAMES_ONLY, jobs_path, secrets_path
from vernacular_openai.paging import page
from vernacular_openai.schemas import CheckpointList, CreateJob, EventList, FineTuningJob, JobList, Model, ModelList
from vernacular_openai.store import StoredFile

_log = logging.getLogger(__name__)
Json = dict[str, Any]
_LETTERS = string.ascii_lowercase + string.digits
_PARAMS = {"spec.model": "model", "spec.training.learningRate": "learning_rate_multiplier"}
_PAGE = 200
# reads of one call at the same time
_AT_ONCE = 8
_MOST = 100


async def create(call: Call) -> FineTuningJob:
    """Make a job: a FineTuneJob, and a Secret with which its prepare pod reads the files."""
    wanted = parsing.create_job(await call.request.read())
    services, namespace = call.services, call.namespace
    # a token for files is given to those alone who may make jobs
    await call.caller.require("create", namespace)
    space = await call.space()
    name = requests.JOB_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(24))
    files = await _files(call, space, wanted, f"{name}-files")
    asked = requests.asked(wanted, secrets.randbelow(2**31))
    job = requests.fine_tune_job(name, asked, files, services.config)
    await _create(call, job, "&dryRun=All")
    token = downloads.token_for(downloads.Grant(space, files.ids), services.key)
    authority = services.authority.read_text(encoding="utf-8") if services.authority.is_file() else ""
    secret = requests.secret(files.secret, token, authority)
    await call.caller.request("POST", secrets_path(namespace), secret)
    try:
        made = await _create(call, job)
    except ApiError as error:
        made = await _made_after_all(call, name, files.secret, error)
    await _hand_over(call, files.secret, made)
    return views.job_view(made, asked)


async def listed(call: Call) -> JobList:
    """The jobs that were made here, the newest first."""
    query = call.request.query
    limit = parsing.whole_number(query, "limit", 20, _MOST)
    wanted = parsing.metadata_filter(query)
    found = [(name, asked) for name, asked in await _names(call) if requests.metadata_matches(asked, wanted)]
    some, more = page(found, lambda item: item[0], query.get("after"), limit)
    documents = await _read_all(call, [name for name, _ in some])
    return JobList(data=[views.job_view(document, asked) for document, asked in documents], has_more=more)


async def retrieve(call: Call) -> FineTuningJob:
    """One job."""
    return views.job_view(*await _job(call))


async def cancel(call: Call) -> FineTuningJob:
    """End a job for good; its records stay."""
    return await _change(call, {"activeDeadlineSeconds": 0, "suspend": False})


async def pause(call: Call) -> FineTuningJob:
    """Save a checkpoint and stop."""
    return await _change(call, {"suspend": True})


async def resume(call: Call) -> FineTuningJob:
    """Go on where a paused job stopped."""
    return await _change(call, {"suspend": False})


async def events(call: Call) -> EventList:
    """What happened to a job, the newest first."""
    limit = parsing.whole_number(call.request.query, "limit", 20, _MOST)
    document, _ = await _job(call)
    told = views.events(document)
    some, more = page(told, lambda event: event.id, call.request.query.get("after"), limit)
    return EventList(data=some, has_more=more)


async def checkpoints(call: Call) -> CheckpointList:
    """None: checkpoints serve to go on with a training, and are no models."""
    await _job(call)
    return CheckpointList(data=[])


async def models(call: Call) -> ModelList:
    """What the platform team has given a name, and the results of all jobs."""
    results = [
        found async for document, asked in _documents(call) if (found := views.model_view(document, asked)) is not None
    ]
    return ModelList(data=[*map(_base_model, call.services.config.models), *results])


async def model(call: Call) -> Model:
    """One model."""
    name = call.request.match_info["model"]
    job = requests.JOB_PREFIX + name.rpartition(":")[2]
    if name in call.services.config.models:
        await call.caller.require("list", call.namespace)
        return _base_model(name)
    found = await _result(call, job) if name.startswith("ft:") else None
    if found is None or found.id != name:
        message = f"The model {name!r} does not exist in this namespace."
        raise ApiError(404, message, code="model_not_found", param="model")
    return found


def _base_model(name: str) -> Model:
    return Model(id=name, created=0, owned_by="platform")


async def _files(call: Call, space: str, wanted: CreateJob, secret: str) -> requests.Files:
    validation = await _file(call, space, wanted.validation_file, "validation_file") if wanted.validation_file else None
    if wanted.validation_file == wanted.training_file:
        raise refused("The validation file is the training file: what is trained cannot be tested.", "validation_file")
    return requests.Files(await _file(call, space, wanted.training_file, "training_file"), validation, secret)


async def _file(call: Call, space: str, file_id: str, param: str) -> StoredFile:
    found = await asyncio.to_thread(call.services.store.get, space, file_id)
    if found is None:
        raise refused(f"The file {file_id!r} does not exist in this namespace: upload it first.", param, "invalid_file")
    return found


async def _create(call: Call, job: Json, options: str = "") -> Json:
    path = f"{jobs_path(call.namespace)}?fieldValidation=Strict{options}"
    try:
        return await call.caller.request("POST", path, job)
    except ApiError as error:
        for field, param in _PARAMS.items():
            if error.code == "invalid_job" and field in error.message:
                error.param = param
        raise


async def _made_after_all(call: Call, name: str, secret: str, error: ApiError) -> Json:
    """The job, if only the answer was lost: whoever got an error would make a second one. Raises `error` otherwise."""
    try:
        return await call.caller.request("GET", jobs_path(call.namespace, name))
    except ApiError as found:
        if found.status == 404:
            with suppress(ApiError):
                await call.caller.request("DELETE", secrets_path(call.namespace, secret))
        raise error from None


async def _hand_over(call: Call, secret: str, job: Json) -> None:
    """Let the Secret go with the job, which is there: that the Secret may stay is no reason to say it is not."""
    path = secrets_path(call.namespace, secret)
    try:
        await call.caller.request("PATCH", path, requests.owner_patch(job), content_type=MERGE_PATCH)
    except ApiError as error:
        _log.warning("Secret %s/%s will stay when its job is deleted: %s", call.namespace, secret, error)


async def _change(call: Call, run_policy: Json) -> FineTuningJob:
    tries = 5
    while True:
        document, asked = await _job(call)
        if views.ended(document):
            state = views.job_view(document, asked).status
            raise refused(f"The job has already ended: it is {state}.", code="job_ended")
        # what was cancelled meanwhile must not be paused, or it would never end
        version = {"resourceVersion": document["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"runPolicy": run_policy}}
        path = jobs_path(call.namespace, document["metadata"]["name"])
        try:
            changed = await call.caller.request("PATCH", path, patch, content_type=MERGE_PATCH)
        except ApiError as error:
            tries -= 1
            if error.status == 409 and tries:
                continue
            raise
        return views.job_view(changed, asked)


async def _result(call: Call, job: str) -> Model | None:
    try:
        return views.model_view(*await _read(call, job))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def _job(call: Call) -> tuple[Json, requests.Asked]:
    return await _read(call, call.request.match_info["job_id"])


async def _read(call: Call, name: str) -> tuple[Json, requests.Asked]:
    if requests.JOB_ID.fullmatch(name):
        document = await call.caller.request("GET", jobs_path(call.namespace, name))
        if asked := requests.asked_of(document):
            return document, asked
    raise not_found(f"fine-tuning job: {name}", "fine_tuning_job_id")


async def _names(call: Call) -> list[tuple[str, requests.Asked]]:
    """Jobs that were made here, the newest first: their names alone, because there may be many."""
    found = [
        (item["metadata"]["creationTimestamp"], item["metadata"]["name"], asked)
        async for item, asked in _documents(call, NAMES_ONLY)
    ]
    found.sort(key=lambda item: item[:2], reverse=True)
    return [(name, asked) for _, name, asked in found]


async def _documents(call: Call, accept: str = "application/json") -> AsyncIterator[tuple[Json, requests.Asked]]:
    """All jobs that were made here, read in pages."""
    resume_at = ""
    while True:
        path = f"{jobs_path(call.namespace)}?limit={_PAGE}&labelSelector={quote(requests.LABEL, safe='')}"
        listing = await call.caller.request("GET", f"{path}&continue={quote(resume_at, safe='')}", accept=accept)
        # an empty list of names is null
        for item in listing["items"] or ():
            if asked := requests.asked_of(item):
                yield item, asked
        resume_at = listing["metadata"].get("continue", "")
        if not resume_at:
            return


async def _read_all(call: Call, names: list[str]) -> list[tuple[Json, requests.Asked]]:
    """Jobs in this order, without those that are gone by now."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> tuple[Json, requests.Asked] | None:
        async with gate:
            try:
                return await _read(call, name)
            except ApiError as error:
                if error.status == 404:
                    return None
                raise

    return [found for found in await asyncio.gather(*map(one, names)) if found]
