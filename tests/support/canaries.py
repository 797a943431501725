"""Secrets that must turn up nowhere: in no form that a careless program would write them in."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote


def canary(name: str) -> str:
    """A value that exists nowhere else, with characters that careless programs trip over."""
    return f"{name}-{uuid.uuid4().hex}+/%s{{0}}$(id)"


def forms(secret: str, *users: str) -> set[bytes]:
    """The secret as it is, escaped for URLs, and in base64 alone or behind each user's name as in a header."""
    texts = {secret, quote(secret), quote(secret, safe="")}
    texts |= {base64.b64encode(text.encode()).decode() for text in (secret, *(f"{user}:{secret}" for user in users))}
    return {text.encode() for text in texts} | {secret.split("+", maxsplit=1)[0].encode()}


def found_in_files(folder: Path, wanted: Iterable[bytes]) -> list[str]:
    """Files below a folder that hold one of these."""
    needles = tuple(wanted)
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return [str(path) for path in paths if path.is_file() and _holds(path.read_bytes(), needles)]


def _holds(content: bytes, needles: tuple[bytes, ...]) -> bool:
    return any(needle in content for needle in needles)
