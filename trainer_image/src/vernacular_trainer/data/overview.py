"""What the kept rows are as a whole: their languages, how soon they are out of date, and whether to train on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vernacular_trainer.contract import Readiness
from vernacular_trainer.data.checks.changing import changes_soon
from vernacular_trainer.data.checks.languages import Languages, languages_of
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.readiness import Figures, described, readiness
from vernacular_trainer.data.rows import Conversation
from vernacular_trainer.data.split import Split

# more rows say nothing else of the whole, and cost time
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Overview:
    """The languages of `looked_at` rows, and whether fine-tuning fits the data."""

    looked_at: int
    languages: Languages
    readiness: Readiness

    def report(self) -> dict[str, Any]:
        """As the data report has it."""
        return {
            "languages": {
                "looked_at": self.looked_at,
                "rows": self.languages.counts,
                "unsure": self.languages.unsure,
            },
            "readiness": {
                "verdict": self.readiness.verdict,
                "reasons": list(self.readiness.reasons),
                "text": described(self.readiness),
            },
        }


def overview(rows: Sequence[Conversation], split: Split, *, facts: bool, problems: ProblemLog) -> Overview:
    """Look at all rows, or at MOST_ROWS of them that are evenly spread, and judge by what was found before too."""
    step = -(-len(rows) // MOST_ROWS)
    looked_at = rows[:: max(1, step)]
    answers = [row.messages[row.last_answer].content for row in looked_at]
    languages = languages_of(answers)
    for index in languages.rare:
        problems.add("OtherLanguage", looked_at[index].row)
    figures = Figures(
        rows=len(rows),
        facts=facts,
        looked_at=len(looked_at),
        changing=sum(map(changes_soon, answers)),
        contradicting=problems.count("ContradictingNumbers") + problems.count("ContradictingAnswers"),
        worded_once=len(split.worded_once),
    )
    return Overview(len(looked_at), languages, readiness(figures))
