"""Tokens that let a prepare pod read the files of its job, and nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

_KEY_BYTES = 32


@dataclass(frozen=True)
class Grant:
    """Files of one namespace that the bearer of a token may read."""

    space: str
    files: tuple[str, ...]


def load_key(path: Path) -> bytes:
    """The key that tokens are signed with; made when there is none. Without the file, tokens given before are void."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as stream:
        key = secrets.token_bytes(_KEY_BYTES)
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    return key


def token_for(grant: Grant, key: bytes) -> str:
    """A token that `read` takes for this grant. It is valid as long as the files exist: their names never come back."""
    said = "/".join((grant.space, *grant.files)).encode()
    return f"{base64.urlsafe_b64encode(said).decode()}.{_signature(said, key)}"


def read(token: str, key: bytes) -> Grant | None:
    """What a token grants; None when it was not signed here."""
    text, _, signature = token.partition(".")
    try:
        said = base64.urlsafe_b64decode(text.encode())
    except (UnicodeEncodeError, binascii.Error):
        return None
    if not hmac.compare_digest(signature.encode(errors="replace"), _signature(said, key).encode()):
        return None
    space, *files = said.decode().split("/")
    return Grant(space, tuple(files))


def _signature(said: bytes, key: bytes) -> str:
    return hmac.new(key, said, hashlib.sha256).hexdigest()
