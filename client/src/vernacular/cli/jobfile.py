"""Files with FineTuneJobs: read, with their local files found, and checked."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vernacular.cli.errors import CliError
from vernacular.cli.localfiles import FILE, LocalFile, find_files, named_files, read_files, with_references
from vernacular.cli.validation import Problem, check_job
from vernacular.cli.yamlfile import Document, YamlError, documents

Json = dict[str, Any]
_STDIN = "-"


@dataclass(frozen=True)
class JobFile:
    """One job of a file, ready to be created when there are no problems. Its local files are references by now."""

    job: Json
    files: tuple[LocalFile, ...]
    problems: tuple[Problem, ...]

    @property
    def name(self) -> str:
        """Name of the job; "" when it has none."""
        metadata = self.job.get("metadata") if isinstance(self.job, dict) else None
        return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""


def read_text(file: str) -> str:
    """The text of a file, or of the standard input. Raises CliError."""
    try:
        return sys.stdin.read() if file == _STDIN else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}", "name a file that is there") from None
    except UnicodeDecodeError:
        raise CliError(f"{file} is no text", "save it as UTF-8") from None


def jobs_of(
    text: str, folder: Path, schema: Mapping[str, Any], name: str | None = None, data: Sequence[str] = ()
) -> list[JobFile]:
    """Every document of a text, checked. `name` and `data` replace what it says; paths are relative to `folder`.

    Raises CliError for local files that cannot be read.
    """
    try:
        found = list(documents(text))
    except YamlError as error:
        return [JobFile({}, (), (Problem(error.line, "", error.message),))]
    typed = [str(Path(path).absolute()) for path in data]
    return [_job_file(_changed(document, name, typed), folder, schema, typed) for document in found]


@dataclass(frozen=True)
class JobInPlace:
    """A job whose local files stay where they are: in it they are ConfigMaps of the name that was given, each with a
    key of its own, and `files` has the path behind each key.
    """

    job: Json
    files: Mapping[str, Path]
    problems: tuple[Problem, ...]


def job_in_place(
    text: str, folder: Path, schema: Mapping[str, Any], config_map: str, name: str | None, data: Sequence[str]
) -> list[JobInPlace]:
    """As `jobs_of`, with local files of any size, which are not read. Raises CliError for those it may not name."""
    try:
        found = list(documents(text))
    except YamlError as error:
        return [JobInPlace({}, {}, (Problem(error.line, "", error.message),))]
    typed = [str(Path(path).absolute()) for path in data]
    return [_in_place(_changed(document, name, typed), folder, schema, config_map, typed) for document in found]


def _in_place(
    document: Document, folder: Path, schema: Mapping[str, Any], config_map: str, typed: Collection[str]
) -> JobInPlace:
    found = find_files(list(dict.fromkeys(named_files(document.value, schema))), folder, typed)
    for place in found.values():
        if not place.is_file():
            raise CliError(f"{place} cannot be read: there is no such file", "name a file that is there")
    keys = {path: f"file-{number}" for number, path in enumerate(found)}
    references = {path: {"configMap": {"name": config_map, "key": key}} for path, key in keys.items()}
    value = with_references(document.value, schema, references)
    problems = check_job(replace(document, value=value), schema)
    files = {keys[path]: place.resolve() for path, place in found.items()}
    return JobInPlace(value, files, tuple(problems))


def lines_of(file: str, problems: Sequence[Problem]) -> list[str]:
    """Problems as editors and people read them."""
    return [f"{file}:{item.line}: {f'{item.field}: ' if item.field else ''}{item.message}" for item in problems]


def _job_file(document: Document, folder: Path, schema: Mapping[str, Any], typed: Collection[str]) -> JobFile:
    named = list(named_files(document.value, schema))
    # questions and glossaries are not read packed
    rows = {path for path in named if named.count(path) == _rows(document.value).count(path)}
    files = read_files(named, folder, typed, rows)
    references = {path: file.reference for path, file in files.items()}
    value = with_references(document.value, schema, references)
    problems = check_job(replace(document, value=value), schema)
    unique = {file.config_map["metadata"]["name"]: file for file in files.values()}
    return JobFile(value, tuple(unique.values()), tuple(problems))


def _rows(value: Any) -> list[str]:
    """Local files that the job trains on."""
    for name in ("spec", "dataset", "train"):
        value = value.get(name) if isinstance(value, dict) else None
    return [item[FILE] for item in value if isinstance(item, dict) and FILE in item] if isinstance(value, list) else []


def _changed(document: Document, name: str | None, data: Sequence[str]) -> Document:
    value = document.value
    if isinstance(value, dict) and name and isinstance(metadata := value.get("metadata") or {}, dict):
        value = {**value, "metadata": {**metadata, "name": name}}
    if isinstance(value, dict) and data and isinstance(value.get("spec"), dict):
        sources = [{FILE: path} for path in data]
        dataset = value["spec"].get("dataset")
        dataset = {**(dataset if isinstance(dataset, dict) else {}), "train": sources}
        value = {**value, "spec": {**value["spec"], "dataset": dataset}}
    return replace(document, value=value)
