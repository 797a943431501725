"""Files of the user and of the workspace: read with errors that name them, write so that nobody sees a half."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vernacular_trainer.contract import FileSource, StageFailure
from vernacular_trainer.errors import StageError


@dataclass(frozen=True)
class InputCopy:
    """A copied input: name as the user wrote it, where the copy is, `sha256:` digest, bytes. `source`: which source of
    the training files it belongs to.
    """

    name: str
    path: Path
    digest: str
    size: int
    source: int = 0


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically."""

    def write(stream: BinaryIO) -> None:
        stream.write(data)

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file under a temporary name, make it durable, then give it its name: it is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process id: processes of several pods, which have the same ids, may write to one volume
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write readable JSON atomically."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def copy_input(source: FileSource, target: Path, missing: StageFailure, unreadable: StageFailure) -> InputCopy:
    """Copy a file of the user into the workspace. Raises StageError `missing` or `unreadable`, naming the source."""
    path = Path(source.path)
    digest = hashlib.sha256()

    def write(stream: BinaryIO) -> None:
        with path.open("rb") as original:
            while block := original.read(1 << 20):
                digest.update(block)
                stream.write(block)

    try:
        write_atomically(target, write)
    except FileNotFoundError:
        raise StageError(missing, f"{source.name} does not exist", _missing_advice(path), str(path)) from None
    except (IsADirectoryError, PermissionError, NotADirectoryError) as error:
        if error.filename != str(path):
            raise
        message = f"{source.name} cannot be read: {error.strerror}"
        raise StageError(unreadable, message, "name a regular file that the pod may read", str(path)) from None
    return InputCopy(source.name, target, f"sha256:{digest.hexdigest()}", target.stat().st_size)


def take_over(path: Path, name: str, target: Path) -> InputCopy:
    """A complete file under a second name, which costs no space, or a copy where that is not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            target.hardlink_to(path)
        except OSError:
            stream.seek(0)
            write_atomically(target, lambda copy: shutil.copyfileobj(stream, copy, 1 << 20))
    return InputCopy(name, target, f"sha256:{digest}", target.stat().st_size)


def read_text(copy: InputCopy, unreadable: StageFailure) -> str:
    """The copy as text. Raises StageError `unreadable` with the line when it is not UTF-8."""
    data = copy.path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{copy.name}, line {line}: not UTF-8 text"
        raise StageError(unreadable, message, "save the file as UTF-8 text", f"byte {error.start}") from None


def combined_digest(copies: list[InputCopy]) -> str:
    """One `sha256:` digest over several inputs, in their order."""
    return "sha256:" + hashlib.sha256("\n".join(copy.digest for copy in copies).encode()).hexdigest()


def _missing_advice(path: Path) -> str:
    if not path.parent.is_dir() or not any(path.parent.iterdir()):
        return "create it in the namespace of the job, with this name"
    present = sorted(item.name for item in path.parent.iterdir() if not item.name.startswith("."))
    listed = ", ".join(present[:5]) + (" ..." if len(present) > 5 else "")
    return f"write the name of a file that is there ({listed})" if present else "put the file there"
