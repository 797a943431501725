"""What is asked of this machine: a job as it was written, and where its files are here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# ConfigMaps of this name stand for files of this machine: a job names the file by the key
HERE = "local"


class LocalError(Exception):
    """Something cannot be done on this machine: what happened in a sentence, and what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine: `name` as its author wrote it, `path` where it is."""

    name: str
    path: str


@dataclass(frozen=True)
class LocalRequest:
    """A FineTuneJob in the API's spelling whose files are ConfigMaps called HERE, with the file behind each key.

    `model`: folder of the base model ("": it is fetched). `gpus`: instead of those that the job says (None: as it
    says). `tracking`: address of MLflow ("": a file of the work folder).
    """

    job: dict[str, Any]
    files: dict[str, LocalFile] = field(default_factory=dict)
    model: str = ""
    gpus: int | None = None
    tracking: str = ""

    def to_json(self) -> str:
        """As text, the same for equal requests."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LocalRequest:
        """Read again what `to_json` wrote."""
        document = json.loads(text)
        files = {key: LocalFile(**file) for key, file in document.pop("files").items()}
        return cls(files=files, **document)

    @classmethod
    def read(cls, path: Path) -> LocalRequest:
        """The request that a file holds."""
        return cls.from_json(path.read_text(encoding="utf-8"))
