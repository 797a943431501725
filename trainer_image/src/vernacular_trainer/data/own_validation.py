"""Rows that the user holds out in files of their own: read like training rows, never mixed with them."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.split import Split, asked_key
from vernacular_trainer.errors import StageError, refused


def require_apart(train: Sequence[InputCopy], validation: Sequence[InputCopy]) -> None:
    """Raises StageError (ArgumentRefused) when a file is trained and held out."""
    trained = {copy.name for copy in train} | {copy.digest for copy in train}
    for copy in validation:
        if copy.name in trained or copy.digest in trained:
            message = f"{copy.name} is trained and held out: what it asks was only learnt by heart"
            raise refused(message, "name other rows in dataset.validation.sources, or use splitPercent instead")


def own_split(rows: Sequence[Conversation], held_out: frozenset[str], problems: ProblemLog) -> Split:
    """The split in which the rows at these places are held out. Those that training rows ask too are noted.

    Raises StageError (DatasetTooSmall) when none of them is left.
    """
    validation = tuple(index for index, row in enumerate(rows) if row.row in held_out)
    train = tuple(index for index, row in enumerate(rows) if row.row not in held_out)
    if not validation:
        message = "dataset.validation.sources have no usable row that no training row repeats"
        raise StageError(StageFailure.DATASET_TOO_SMALL, message, "mend its rows, or use splitPercent instead")
    first: dict[str, str] = {}
    for index in train:
        first.setdefault(asked_key(rows[index]), rows[index].row)
    for index in validation:
        if place := first.get(asked_key(rows[index])):
            problems.add("LeakedValidation", rows[index].row, other=place)
    return Split(train, validation)
