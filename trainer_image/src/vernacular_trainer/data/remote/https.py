"""Files of web servers: in ranges where the server gives these of one version, else in one go."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from vernacular_trainer.contract import HttpsConfig, StageFailure
from vernacular_trainer.data.files import write_atomically
from vernacular_trainer.data.remote.download import download
from vernacular_trainer.data.remote.files import Access, Listing, RemoteFile
from vernacular_trainer.data.remote.web import Web
from vernacular_trainer.errors import StageError, refused

SCHEME = "https://"
# seconds before each further try of one request
PAUSES = (1.0, 2.0, 4.0, 8.0)
_BLOCK_BYTES = 2**20
_GIB = 2**30
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_FILE = "content"

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What a server says of a file. `etag`: what changes with every byte of it, "" when the server does not say that,
    or gives no ranges. `size` in bytes, None when it is not told.
    """

    size: int | None
    etag: str


def list_source(access: Access, allowed: HttpsConfig) -> Listing:
    """The file of the uri.

    Raises StageError: `access.missing`, `access.denied`, SourceNotAllowed, SecretMissing, ArgumentRefused,
    SourceUnavailable.
    """
    web = Web(access, allowed)
    found = _patiently(partial(_look, web))
    identity = f"{access.uri} {found.etag} {found.size}"
    version = hashlib.sha256(identity.encode()).hexdigest() if found.etag else ""
    fetch = partial(_fetch, web, found, version)
    # it has just been read with the job's own login
    return Listing((RemoteFile(access.uri, _FILE, version, "", lambda: None, fetch),))


def _look(web: Web) -> Found:
    # some servers answer HEAD otherwise than GET, or not at all
    with web.get({"Range": "bytes=0-0"}) as response:
        span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status == 200 or not span:
            length = response.headers.get("Content-Length", "")
            found = Found(int(length) if length.isdigit() else None, "")
        else:
            etag = response.headers.get("ETag", "")
            found = Found(int(span.group(3)), etag if etag.startswith('"') else "")
    _check_size(web, found.size or 0)
    return found


def _fetch(web: Web, found: Found, version: str, folder: Path) -> None:
    if found.etag and found.size:

        def read(start: int, end: int) -> bytes:
            return _patiently(partial(_span, web, found, start, end))

        download(folder, _FILE, version, found.size, read)
    elif found.size == 0:
        write_atomically(folder / _FILE, lambda stream: None)
    else:
        _patiently(lambda: write_atomically(folder / _FILE, partial(_whole, web)))


def _span(web: Web, found: Found, start: int, end: int) -> bytes:
    """Bytes from `start` to before `end` of the version that was found."""
    with web.get({"Range": f"bytes={start}-{end - 1}", "If-Range": found.etag}) as response:
        span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or not span or response.headers.get("ETag") != found.etag:
            raise web.unavailable("it was replaced while it was read")
        data = web.read(response, end - start)
    if span.group(1) != str(start) or len(data) != end - start:
        raise web.unavailable(f"{len(data)} of {end - start} bytes")
    return data


def _whole(web: Web, stream: BinaryIO) -> None:
    with web.get({}) as response:
        length = response.headers.get("Content-Length", "")
        size = 0
        if response.status != 200:
            raise web.unavailable(f"HTTP {response.status}")
        while block := web.read(response, _BLOCK_BYTES):
            size += len(block)
            _check_size(web, size)
            stream.write(block)
    if length.isdigit() and size != int(length):
        raise web.unavailable(f"{size} of {length} bytes")


def _check_size(web: Web, size: int) -> None:
    most = web.allowed.max_file_gib
    if size > most * _GIB:
        message = f"{web.access.uri} is larger than {most} GiB"
        advice = "divide the file, or ask the platform team to raise the chart's value config.https.maxFileGiB"
        raise refused(message, advice)


def _patiently(action: Callable[[], T]) -> T:
    """Do it again after a pause when the server is away or breaks off. Raises what the last try raises."""
    for pause in PAUSES:
        try:
            return action()
        except StageError as error:
            if error.code is not StageFailure.SOURCE_UNAVAILABLE:
                raise
        time.sleep(pause)
    return action()
