"""The first job for a file of rows: what its rows look like, and a commented FineTuneJob for them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from vernacular.api.constants import API_VERSION, KIND
from vernacular.cli.errors import CliError
from vernacular.cli.screens.values import counted
from vernacular.cli.steering import MAX_NAME_LENGTH
from vernacular.cli.validation import check_job, job_schema
from vernacular.cli.yamlfile import documents

# keys that show each format, as the prepare stage knows them
SHAPES = (
    ("Preference", ("prompt", "chosen", "rejected")),
    ("Messages", ("messages",)),
    ("PromptCompletion", ("prompt", "completion")),
    ("PromptCompletion", ("question", "answer")),
    ("Instruction", ("instruction", "output")),
    ("Conversations", ("conversations",)),
    ("Text", ("text",)),
)
_TABLES = (".csv", ".tsv")
_SEPARATORS = ",;\t"
_LONGEST_FIELD = 2**31 - 1
_GUIDE = "docs/guide/data.md shows what rows may look like"
_FEW_ROWS = 20


@dataclass(frozen=True)
class Look:
    """What was seen of a file of rows: how many there are, the columns of the first, and its format.

    `columns` renames two columns that no format knows. `format` is "" when the file was not looked into.
    """

    rows: int = 0
    format: str = ""
    columns: tuple[str, ...] = ()


def look(name: str, content: bytes) -> Look:
    """Look at a file of rows. Packed files, workbooks and Parquet are left to the prepare stage.

    Raises CliError when nothing can be learnt from it.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in (".jsonl", ".ndjson", ".json", *_TABLES):
        return Look()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{name} is no UTF-8 text", "save it as UTF-8") from None
    rows = _table(text) if suffix in _TABLES else _json(name, text, suffix)
    try:
        first, count = next(rows, None), 1 + sum(1 for _ in rows)
    except csv.Error as error:
        raise CliError(f"{name} is no table: {error}", _GUIDE) from None
    if first is None:
        raise CliError(f"{name} has no rows", _GUIDE)
    form, columns = _format(name, first, suffix in _TABLES)
    return Look(count, form, columns)


def job_text(file: str, seen: Look, name: str, model: str, *, fits: bool = True) -> str:
    """A FineTuneJob for the file, with comments for whoever goes on from there. `fits`: a ConfigMap can hold it."""
    source = f"file: {_quoted(file)}" if fits else f"uri: pvc://CLAIM/{PurePath(file).name}"
    where = "goes into a ConfigMap" if fits else "too large for a ConfigMap: copy it to a claim, and name that here"
    rows = f"{counted(seen.rows, 'row')}, {seen.format}" if seen.format else "not looked into"
    pairs = seen.format == "Preference"
    lines = [
        "apiVersion: vernacular.dev/v1alpha1",
        "kind: FineTuneJob",
        "metadata:",
        f"  name: {_quoted(name)}",
        "spec:",
        "  model:",
        f"    uri: {_quoted(model)}   # or pvc://CLAIM/PATH",
        "  dataset:",
        "    teaches: Facts                 # Skill: what is asked afterwards are cases never seen",
        "    train:",
        f"      - {source}   # {rows}; {where}",
        *([f"    columns: {{{_quoted(seen.columns[0])}: question, {_quoted(seen.columns[1])}: answer}}   # a guess"]
          if seen.columns else []),
        "    personalData: Report           # Redact replaces it, Fail ends the job",
        *(["  objective: DPO                   # each row has a chosen and a rejected answer"] if pairs else []),
        "  method:",
        "    type: LoRA                     # QLoRA needs less memory, Full more",
        "  compute:",
        "    pods: 1",
        "    gpusPerPod: 1                  # 0: on the CPU, for a try",
        "  # training: {epochs: 3}            what is absent is chosen, and status.plan says why",
        "  # storage: {workspace: {size: 20Gi, storageClassName: CLASS}}",
        "  # evaluation:                      questions that training never sees decide whether the model may be used",
        "  #   questions: {file: questions.jsonl}",
        "  #   gate: {minCorrectPercent: 85}",
        "  runPolicy:",
        "    maxRestarts: 3",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def name_for(file: str) -> str:
    """A name for the job from that of the file."""
    stem = re.sub(r"[^a-z0-9]+", "-", PurePath(file).name.partition(".")[0].lower()).strip("-")
    stem = re.sub(r"^[0-9-]+", "", stem)
    return stem[:MAX_NAME_LENGTH].strip("-") or "my-job"


def check_words(name: str, model: str) -> None:
    """Raises CliError for a name or a model that no job may have."""
    words = {
        "metadata": {"name": name},
        "spec": {"model": {"uri": model}, "dataset": {"train": [{"uri": "s3://abc/d"}]}},
    }
    (document,) = documents(json.dumps({"apiVersion": API_VERSION, "kind": KIND, **words}))
    for problem in check_job(document, job_schema()):
        flag = "--model" if problem.field else "--name"
        raise CliError(f"{problem.field} {problem.message}".strip(), f"write another one with {flag}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(name: str, text: str, suffix: str) -> Iterator[Any]:
    number = 0
    try:
        if suffix == ".json":
            document = json.loads(text)
            yield from document if isinstance(document, list) else [document]
            return
        # other ends of lines that Python knows may stand in a text
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                # only the first rows are read: the prepare stage checks every one
                yield json.loads(line) if number <= _FEW_ROWS else None
    except ValueError as error:
        place = f" line {number}" if suffix != ".json" else ""
        raise CliError(f"{name}{place} is no JSON: {error}", _GUIDE) from None


def _table(text: str) -> Iterator[Any]:
    """Rows as the prepare stage reads them: the first line that is not empty is the header and shows the separator."""
    # the module's own limit of 128 KiB would refuse long texts
    csv.field_size_limit(_LONGEST_FIELD)
    lines = itertools.dropwhile(lambda line: not line.strip(f" {_SEPARATORS}\r\n"), io.StringIO(text, newline="\n"))
    header = next(lines, "")
    rows = csv.DictReader(itertools.chain([header], lines), delimiter=max(_SEPARATORS, key=header.count))
    return (row for row in rows if any(isinstance(cell, str) and cell.strip() for cell in row.values()))


def _format(name: str, row: Any, table: bool) -> tuple[str, tuple[str, ...]]:
    if not isinstance(row, dict):
        raise CliError(f"the first row of {name} is no object", _GUIDE)
    keys = [str(key) for key in row]
    found = next((form for form, needed in SHAPES if set(needed) <= set(keys)), "")
    if found:
        return found, ()
    if len(keys) == 2:
        return "PromptCompletion", tuple(keys)
    shown = ", ".join(itertools.islice(keys, 8))
    what = "columns" if table else "keys"
    raise CliError(f"rows of {name} have the {what} {shown}, which no format has", f"rename them; {_GUIDE}")
