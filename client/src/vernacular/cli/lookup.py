"""Which jobs were made of which rows, from digests of rows. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vernacular.cli.registry import Version
from vernacular.cli.runs import Run

ARTIFACT_FOLDER, ARTIFACT = "reports", "reports/row-digests.csv"
_TRAINED, _TESTED = "train", "test"


@dataclass(frozen=True)
class Use:
    """A run that used rows: places of those that it was trained on and tested with, and the versions that it made."""

    run: Run
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    versions: tuple[Version, ...] = ()


def parse_digests(text: str) -> dict[str, frozenset[str]]:
    """What each row of a run's list was used for, by its digest."""
    found: dict[str, set[str]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        found.setdefault(line["digest"], set()).add(line["use"])
    return {digest: frozenset(uses) for digest, uses in found.items()}


def uses_of(asked: Sequence[tuple[str, str]], known: Mapping[str, frozenset[str]]) -> tuple[list[str], list[str]]:
    """Of the rows that are asked about, pairs of place and digest, the places of those trained on and tested with."""
    places = {use: [place for place, digest in asked if use in known.get(digest, ())] for use in (_TRAINED, _TESTED)}
    return places[_TRAINED], places[_TESTED]


def as_document(uses: Sequence[Use], unknown: Sequence[str], unreadable: Sequence[str]) -> dict[str, Any]:
    """The answer as plain data."""
    return {
        "found": [
            {
                "job": use.run.job,
                "namespace": use.run.namespace,
                "run": use.run.run_id,
                "deleted": use.run.deleted,
                "trained": list(use.trained),
                "tested": list(use.tested),
                "versions": [asdict(version) for version in use.versions],
            }
            for use in uses
        ],
        "unknown": list(unknown),
        "unreadable": list(unreadable),
    }
