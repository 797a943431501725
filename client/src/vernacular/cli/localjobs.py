"""A job of a file for this machine: what `plan` and `run` hand to the stages here."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vernacular.cli.errors import CliError
from vernacular.cli.jobfile import JobInPlace, job_in_place, lines_of, read_text
from vernacular.cli.screens.values import counted
from vernacular.cli.terminal import Terminal, printable
from vernacular.cli.validation import job_schema

Json = dict[str, Any]

# vernacular_local.request says the same; this package does not import it
_HERE = "local"
REQUEST_FILE = "request.json"
RUNS_FOLDER = "vernacular-runs"
NEEDED_TO_RUN = {"vernacular_trainer": "local", "torch": "local", "peft": "local", "sqlalchemy": "local"}


def require(packages: Mapping[str, str]) -> None:
    """Raises CliError when a Python package is missing; each comes with the extra that brings it."""
    for package, extra in packages.items():
        if importlib.util.find_spec(package) is None:
            raise CliError(f"the Python package {package} is missing", f"install this package's extra [{extra}]")


def checked_job(options: Namespace, terminal: Terminal) -> JobInPlace:
    """The one job of the file, without problems. Raises CliError."""
    file = options.file
    found = job_in_place(
        read_text(file),
        Path(file).parent,
        job_schema(),
        _HERE,
        getattr(options, "name", None),
        getattr(options, "data", None) or (),
    )
    if len(found) != 1:
        raise CliError(f"{file} has {len(found)} documents, not one", "write each job into a file of its own")
    if problems := found[0].problems:
        for line in lines_of(file, problems):
            terminal.note(printable(line))
        raise CliError(f"{counted(len(problems), 'problem')} found", "mend the lines above")
    return found[0]


def request_of(found: JobInPlace, model: str | None, gpus: int | None = None, mlflow: str | None = None) -> Json:
    """The document that vernacular_local reads.

    Raises CliError for a folder of a model that is not there, and for a login in an address, which would be written.
    """
    if mlflow and urlsplit(mlflow).username:
        raise CliError(
            "the address of MLflow holds a login, which would be written to the work folder",
            "leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    if model and not (Path(model) / "config.json").is_file():
        raise CliError(f"{model} is no folder of a model: it has no config.json", "name another folder with --model")
    files = {key: {"name": path.name, "path": str(path)} for key, path in found.files.items()}
    return {
        "job": found.job,
        "files": files,
        "model": str(Path(model).resolve()) if model else "",
        "gpus": gpus,
        "tracking": mlflow or "",
    }


def digests_of(request: Json) -> Json:
    """SHA-256 by path of what is read on this machine: the job's files, and what a folder of a model says of itself.

    Weights are many gigabytes: of these the size stands for the content. Raises CliError.
    """
    model = Path(request["model"]) if request["model"] else None
    parts = sorted(path for path in model.iterdir() if path.is_file()) if model else []
    try:
        files = {file["path"]: _digest(Path(file["path"])) for file in request["files"].values()}
        return files | {str(path): _digest(path) if path.suffix == ".json" else path.stat().st_size for path in parts}
    except OSError as error:
        raise CliError(f"{error.filename} cannot be read: {error.strerror}", "let this user read it") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_text(request: Json) -> str:
    """The same text for equal requests."""
    return json.dumps(request, sort_keys=True, indent=2, ensure_ascii=False)
