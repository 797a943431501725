"""/v1/files. Who may make jobs in a namespace may upload and read its files; who may read jobs sees their names."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from vernacular_openai import downloads
from vernacular_openai.context import Call, Services, bearer
from vernacular_openai.errors import not_found, refused
from vernacular_openai.kubernetes import unauthorised
from vernacular_openai.paging import page
from vernacular_openai.parsing import whole_number
from vernacular_openai.schemas import Deleted, FileList, FileObject
from vernacular_openai.store import StoredFile, Upload

PURPOSE = "fine-tune"
_CHUNK_BYTES = 2**20
_AS_IT_IS = ("7bit", "8bit", "binary")
_FIELD_BYTES = 1024
_MOST_FIELDS = 8
_NAME_LENGTH = 255


async def upload(call: Call) -> FileObject:
    """Store a file of training or validation rows, as it is."""
    await call.caller.require("create", call.namespace)
    space = await call.space()
    store = call.services.store
    # a refusal before the body is read, where its length shows that it is too large
    store.check_size((call.request.content_length or 0) - 64 * 1024)
    if call.request.content_type != "multipart/form-data":
        raise refused("Send the file as multipart/form-data, with the fields file and purpose.", "file")
    with store.begin(space) as arriving:
        try:
            fields = await _receive(call.request, arriving)
        except (ValueError, EOFError, HttpProcessingError, web.HTTPException):
            raise refused("The body is no multipart/form-data, or breaks off.", "file") from None
        _check(fields, arriving.size)
        stored = await asyncio.to_thread(arriving.finish, fields["file"], PURPOSE, call.services.now())
    return view(stored)


async def listed(call: Call) -> FileList:
    """The files of the namespace."""
    await call.caller.require("list", call.namespace)
    query = call.request.query
    order, purpose = query.get("order", "desc"), query.get("purpose", PURPOSE)
    if order not in ("asc", "desc"):
        raise refused("order must be asc or desc.", "order")
    files = await asyncio.to_thread(call.services.store.all, await call.space())
    found = [file for file in files if file.purpose == purpose]
    limit = whole_number(query, "limit", 10_000, 10_000)
    some, more = page(found if order == "asc" else found[::-1], lambda file: file.id, query.get("after"), limit)
    return FileList(
        data=[view(file) for file in some],
        first_id=some[0].id if some else None,
        last_id=some[-1].id if some else None,
        has_more=more,
    )


async def retrieve(call: Call) -> FileObject:
    """What is known of a file."""
    await call.caller.require("get", call.namespace)
    _, file = await _found(call)
    return view(file)


async def content(call: Call) -> web.StreamResponse:
    """The bytes of a file."""
    await call.caller.require("create", call.namespace)
    space, file = await _found(call)
    name = quote(file.filename, safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "X-Content-Type-Options": "nosniff"}
    return _bytes(call.services, space, file.id, headers)


async def delete(call: Call) -> Deleted:
    """Remove a file. Jobs whose data was not fetched yet fail with DatasetNotFound."""
    await call.caller.require("delete", call.namespace)
    space, file = await _found(call)
    try:
        await asyncio.to_thread(call.services.store.delete, space, file)
    except FileNotFoundError:
        raise not_found(f"file: {file.id}") from None
    return Deleted(id=file.id)


async def download(services: Services, request: web.Request) -> web.StreamResponse:
    """The bytes of a file for the prepare pod of a job, with the token of the job's Secret."""
    grant = downloads.read(bearer(request), services.key)
    file_id = request.match_info["file_id"]
    if grant is None or file_id not in grant.files:
        raise unauthorised("This token is not for this file")
    if await asyncio.to_thread(services.store.get, grant.space, file_id) is None:
        raise not_found(f"file: {file_id}; it was deleted")
    return _bytes(services, grant.space, file_id, {})


def view(file: StoredFile) -> FileObject:
    """A file as the OpenAI API shows it."""
    return FileObject(
        id=file.id, bytes=file.bytes, created_at=file.created_at, filename=file.filename, purpose=file.purpose
    )


async def _found(call: Call) -> tuple[str, StoredFile]:
    space, file_id = await call.space(), call.request.match_info["file_id"]
    file = await asyncio.to_thread(call.services.store.get, space, file_id)
    if file is None:
        raise not_found(f"file: {file_id}", "file_id")
    return space, file


def _bytes(services: Services, space: str, file_id: str, headers: dict[str, str]) -> web.StreamResponse:
    headers = {"Content-Type": "application/octet-stream", **headers}
    return web.FileResponse(services.store.path(space, file_id), chunk_size=_CHUNK_BYTES, headers=headers)


async def _receive(request: web.Request, arriving: Upload) -> dict[str, str]:
    """The fields of a form; of the file its name, its bytes go to `arriving`."""
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        name = part.name if isinstance(part, BodyPartReader) else None
        if not isinstance(part, BodyPartReader) or name is None or name in fields or len(fields) == _MOST_FIELDS:
            raise ValueError("fields are named, and each is there once")
        if name == "file":
            fields[name] = part.filename or ""
            if part.headers.get("Content-Transfer-Encoding", "binary").lower() not in _AS_IT_IS:
                raise ValueError("bytes are sent as they are")
            while chunk := await part.read_chunk(_CHUNK_BYTES):
                await asyncio.to_thread(arriving.write, chunk)
        else:
            fields[name] = (await part.read_chunk(_FIELD_BYTES)).decode()
    return fields


def _check(fields: dict[str, str], size: int) -> None:
    for name in ("file", "purpose"):
        if name not in fields:
            raise refused(f"Missing required parameter: {name}.", name, "missing_required_parameter")
    if fields["purpose"] != PURPOSE:
        raise refused(f"Files here are for fine-tuning: the purpose must be {PURPOSE}.", "purpose", "invalid_value")
    for field in fields.keys() - {"file", "purpose"}:
        name = field.partition("[")[0]
        message = f"Unknown parameter: {name}."
        if name == "expires_after":
            message = "expires_after is not supported here: a file stays until it is deleted."
        raise refused(message, name, "unknown_parameter")
    name = fields["file"]
    # halves of characters, which no answer can hold, are not printable
    if not (0 < len(name) <= _NAME_LENGTH and name.isprintable()):
        raise refused(f"The file needs a readable name of at most {_NAME_LENGTH} characters.", "file")
    if not size:
        raise refused("The file is empty.", "file")
