"""How many rows a job has, before it is prepared: those of the files that are on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vernacular_trainer.contract import DatasetConfig, FileSource
from vernacular_trainer.data.reading.files import read_records


@dataclass(frozen=True)
class RowNumbers:
    """Rows to train on and rows that are held out, as they stand in the files: the checks may leave some out."""

    train: int
    held_out: int


def row_numbers(dataset: DatasetConfig) -> RowNumbers | str:
    """The rows of all files, divided as the split does; in words why they are not known, when they are not.

    Raises StageError (DatasetUnreadable) for a file that no job can read.
    """
    sources = (*dataset.train, *dataset.validation)
    if away := [source.name for source in sources if not (source.path and Path(source.path).is_file())]:
        return f"the rows of {', '.join(away)} are not on this machine"
    if any(source.share_percent is not None for source in dataset.train):
        return "how many rows of a source with sharePercent are used is known after the checks"
    train = _rows(dataset.train, dataset.columns)
    if dataset.validation:
        return RowNumbers(train, _rows(dataset.validation, dataset.columns))
    held_out = train * dataset.validation_split_percent // 100
    return RowNumbers(train - held_out, held_out)


def _rows(sources: Sequence[FileSource], columns: Mapping[str, str]) -> int:
    return sum(
        not record.error for source in sources for record in read_records(Path(source.path), source.name, columns)
    )
