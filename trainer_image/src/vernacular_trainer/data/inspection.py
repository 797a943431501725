"""What one row shows by itself, whatever the others say: marks of a bad export, the order of its turns, personal data;
and the traits by which it is compared with the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vernacular_trainer.data.checks.personal_data import kinds_of, redacted
from vernacular_trainer.data.checks.text import text_findings
from vernacular_trainer.data.checks.traits import Traits, traits_of
from vernacular_trainer.data.checks.turns import out_of_order
from vernacular_trainer.data.formats import same_answers
from vernacular_trainer.data.row_store import Packed, pack
from vernacular_trainer.data.rows import Conversation

# of personal data, by code and name
Kinds = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Inspection:
    """What a block of rows shows.

    `personal`: place and kinds of each row with personal data. `marks`: place and code of what else was found.
    `unpaired`: places of pairs whose answers differ in what is masked alone; they are no rows any more. `masked`: the
    rows that are left, None when nothing is to be masked. `traits`: of the rows that are left.
    """

    personal: Sequence[tuple[str, Kinds]]
    marks: Sequence[tuple[str, str]]
    unpaired: Sequence[str]
    masked: Packed | None
    traits: Traits


def inspect(block: Iterable[Conversation], system_prompt: str, *, mask: bool) -> Inspection:
    """Look at each row of a block; `mask`: with its personal data masked, but in the `system_prompt` of the job."""
    rows = list(block)
    personal = [(row.row, found) for row in rows if (found := kinds_of(row, system_prompt))]
    unpaired: list[str] = []
    if mask:
        changed = [redacted(row, system_prompt) for row in rows]
        unpaired = [row.row for row in changed if _without_choice(row)]
        rows = [row for row in changed if not _without_choice(row)]
    marks = [(row.row, code) for row in rows for code in _marks(row)]
    return Inspection(personal, marks, unpaired, pack(rows) if mask else None, traits_of(rows))


def _marks(row: Conversation) -> list[str]:
    return [*text_findings(row), *(["TurnsOutOfOrder"] if out_of_order(row) else [])]


def _without_choice(row: Conversation) -> bool:
    return row.rejected is not None and same_answers(row.messages[-1], row.rejected)
