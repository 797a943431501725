"""Whether fine-tuning fits the data at all, or prompting or retrieval first would serve better. Pure.

The rules stand in docs/guide/readiness.md; the first that holds decides, and all that hold are reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vernacular_trainer.contract import Readiness

# below this all rows fit into a prompt
FEW_ROWS = 50
# parts of rows, in percent
MANY_CHANGING = 30
MANY_CONTRADICTING = 2
MANY_WORDED_ONCE = 50


class Fit(StrEnum):
    """What to do with the data."""

    TRAIN = "Train"
    MEND_FIRST = "MendFirst"
    RETRIEVE_FIRST = "RetrieveFirst"
    PROMPT_FIRST = "PromptFirst"


@dataclass(frozen=True)
class Figures:
    """What the checks have counted. `rows` that are used; of `looked_at` of them `changing` answers hold what changes
    soon; `contradicting`: pairs of rows; `worded_once`: rows whose fact no other row words. `facts`: whether facts are
    taught, not a skill.
    """

    rows: int
    facts: bool
    looked_at: int = 0
    changing: int = 0
    contradicting: int = 0
    worded_once: int = 0


def readiness(figures: Figures) -> Readiness:
    """The verdict with its reasons; without any the data fits."""
    found = list(_reasons(figures))
    if not found:
        return Readiness(Fit.TRAIN)
    return Readiness(found[0][0], tuple(reason for _, reason in found))


def described(verdict: Readiness) -> str:
    """The verdict as a line for people."""
    advice = {
        Fit.TRAIN: "fine-tuning fits this data",
        Fit.MEND_FIRST: "mend the data first",
        Fit.RETRIEVE_FIRST: "retrieve these facts into the prompt first, and measure",
        Fit.PROMPT_FIRST: "write the rows into the prompt first, and measure",
    }
    return "; ".join((f"{verdict.verdict}: {advice[Fit(verdict.verdict)]}", *verdict.reasons))


def _reasons(figures: Figures) -> Iterator[tuple[Fit, str]]:
    rows = figures.rows
    if rows < FEW_ROWS:
        yield Fit.PROMPT_FIRST, f"{rows} rows are few: all fit into a prompt"
    if figures.facts and 100 * figures.changing >= MANY_CHANGING * max(1, figures.looked_at):
        what = "answers hold dates, prices, versions or what holds now"
        yield Fit.RETRIEVE_FIRST, f"{figures.changing:,} of {figures.looked_at:,} {what}"
    if figures.contradicting and 100 * figures.contradicting >= MANY_CONTRADICTING * rows:
        yield Fit.MEND_FIRST, f"{figures.contradicting:,} of {rows:,} rows contradict another"
    if figures.facts and 100 * figures.worded_once > MANY_WORDED_ONCE * rows:
        yield Fit.MEND_FIRST, f"{figures.worded_once:,} of {rows:,} rows teach facts that are worded once"
