"""What all kinds of servers have in common: files with a version, and who asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vernacular_trainer.contract import FileSource, ModelConfig, StageFailure
from vernacular_trainer.errors import StageError, refused

# what the library of data sets writes beside the rows
_ABOUT_ROWS = frozenset({"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"})
_DATA_FILE = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|xlsx|parquet)(\.(gz|gzip|zst|zstd))?$", re.IGNORECASE)
# what lists one source in a report stays readable, and so does a folder that was meant to be another one
MOST_FILES = 10_000


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server. `name` is how messages call it, `path` where it comes to lie below the folder that it is
    fetched into, `version` changes with its content; `fetch` puts it there, and goes on with what lies there already.
    `authorise` raises StageError when it may not be read: that it was found need not say so.
    """

    name: str
    path: str
    version: str
    endpoint: str
    authorise: Callable[[], None] = field(repr=False, compare=False)
    fetch: Callable[[Path], None] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Listing:
    """The files that a source stands for, in the order of their names, and the names of those that it passes over."""

    files: tuple[RemoteFile, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Access:
    """What is asked for, where, and as whom. `missing` and `denied` are the codes when it is not there, or refused."""

    uri: str
    revision: str
    endpoint: str
    credentials_name: str
    credentials_path: str
    missing: StageFailure
    denied: StageFailure

    @classmethod
    def of_file(cls, source: FileSource, missing: StageFailure) -> Access:
        """Access to a file of rows, questions or a glossary."""
        where = (source.uri, source.revision, source.endpoint, source.credentials_name, source.credentials_path)
        return cls(*where, missing, StageFailure.DATASET_ACCESS_DENIED)

    @classmethod
    def of_model(cls, model: ModelConfig) -> Access:
        """Access to a base model."""
        where = (model.uri, model.revision, model.endpoint, model.credentials_name, model.credentials_path)
        return cls(*where, StageFailure.MODEL_NOT_FOUND, StageFailure.MODEL_ACCESS_DENIED)

    def secret(self, key: str) -> str:
        """The value of a key of the source's Secret, "" when there is none. Raises StageError (ArgumentRefused) when
        it is no text.
        """
        file = Path(self.credentials_path) / key
        try:
            return file.read_text(encoding="utf-8").strip() if self.credentials_name and file.is_file() else ""
        except UnicodeDecodeError:
            message = f"the key {key} of the Secret {self.credentials_name} of {self.uri} is no text"
            raise refused(message, f"write {key} into the Secret as UTF-8 text; certificates as PEM") from None

    def required_secret(self, key: str) -> str:
        """The same. Raises StageError (SecretMissing) when it has no value."""
        if not (value := self.secret(key)):
            message = f"the Secret {self.credentials_name} of {self.uri} has no key {key}"
            advice = f"kubectl create secret generic {self.credentials_name} --from-literal={key}=<value>"
            raise StageError(StageFailure.SECRET_MISSING, message, advice)
        return value


def is_data_file(path: str) -> bool:
    """Whether a file of a folder is read as rows, going by its name. Hidden files are not, nor descriptions of rows."""
    parts = path.split("/")
    shown = not any(part.startswith((".", "_")) for part in parts) and parts[-1] not in _ABOUT_ROWS
    return shown and bool(_DATA_FILE.search(path))
