"""Whether fine-tuning fits the data: the rules, what answers soon change, and which languages they are in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from vernacular_trainer.__main__ import main
from vernacular_trainer.data.checks.changing import changes_soon
from vernacular_trainer.data.checks.languages import languages_of
from vernacular_trainer.data.overview import overview
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.readiness import Figures, Fit, described, readiness
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.split import Split

GOOD = Figures(rows=200, facts=True, looked_at=200, changing=59, contradicting=3, worded_once=100)
GERMAN = "Die Kündigungsfrist für leitende Angestellte beträgt neunzig Tage zum Monatsende."
ENGLISH = "The notice period of senior consultants is ninety days to the end of a month."


@pytest.mark.parametrize(
    ("changes", "verdict", "reasons"),
    [
        ({}, Fit.TRAIN, ()),
        ({"rows": 50, "changing": 0, "contradicting": 0, "worded_once": 0}, Fit.TRAIN, ()),
        ({"rows": 49, "contradicting": 0, "worded_once": 0}, Fit.PROMPT_FIRST, ("49 rows are few",)),
        ({"changing": 60}, Fit.RETRIEVE_FIRST, ("60 of 200 answers hold dates, prices, versions",)),
        ({"contradicting": 4}, Fit.MEND_FIRST, ("4 of 200 rows contradict another",)),
        ({"worded_once": 101}, Fit.MEND_FIRST, ("101 of 200 rows teach facts that are worded once",)),
        ({"facts": False, "changing": 200, "worded_once": 0}, Fit.TRAIN, ()),
        (
            {"rows": 10, "looked_at": 10, "changing": 10, "contradicting": 1, "worded_once": 10},
            Fit.PROMPT_FIRST,
            ("10 rows are few", "10 of 10 answers", "1 of 10 rows contradict", "10 of 10 rows teach"),
        ),
    ],
)
def test_the_first_rule_that_holds_decides_and_all_that_hold_are_reasons(
    changes: dict[str, int], verdict: str, reasons: tuple[str, ...]
) -> None:
    found = readiness(dataclasses.replace(GOOD, **changes))

    assert found.verdict == verdict
    assert [reason.startswith(words) for reason, words in zip(found.reasons, reasons, strict=True)] == [True] * len(
        reasons
    )
    assert described(found).startswith(f"{verdict}: ")
    assert all(reason in described(found) for reason in found.reasons)


@pytest.mark.parametrize(
    ("answer", "soon"),
    [
        *(
            (text, True)
            for text in ("It opens on 2026-03-01.", "Gilt ab 1.3.2026.", "Since March 2026.", "May 5, 2025")
        ),
        *((text, True) for text in ("It costs $40 a month.", "Das kostet 12,50 € im Monat", "USD 30 a day", "3 euros")),
        *(
            (text, True)
            for text in ("Use v2.3 of the client.", "Install version 4.", "Python 3.11.7", "derzeit gesperrt")
        ),
        *((text, False) for text in ("Ninety days.", "The notice period is 90 days.", "Room 3.14", "Ask Mr. May.")),
        *((text, False) for text in ("10.0.0.1 is the gateway", "Grade B2 has 25 days", "24/7", "Section 1.2 says so")),
    ],
)
def test_answers_that_change_soon_are_told_by_their_form(answer: str, soon: bool) -> None:
    assert changes_soon(answer) is soon


def test_answers_in_a_rare_language_are_found_and_short_ones_are_not_judged() -> None:
    found = languages_of([*[ENGLISH] * 30, GERMAN, "Yes.", "42", ""])

    assert found.counts == {"en": 30, "de": 1}
    assert found.unsure == 3
    assert found.rare == (30,)


@pytest.mark.parametrize(("german", "rare"), [(1, 0), (15, 0)])
def test_few_answers_and_languages_that_many_are_in_are_not_reported(german: int, rare: int) -> None:
    found = languages_of([*[ENGLISH] * 15, *[GERMAN] * german])

    assert len(found.rare) == rare


def test_of_many_rows_a_part_is_looked_at_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vernacular_trainer.data.overview.MOST_ROWS", 40)
    rows = [
        Conversation(f"rows:{index}", (Message("user", f"q{index}"), Message("assistant", "It costs $4.")))
        for index in range(100)
    ]

    found = overview(rows, Split(tuple(range(100)), ()), facts=True, problems=ProblemLog())

    assert found.report()["languages"]["looked_at"] == 34
    assert found.readiness.verdict == "RetrieveFirst"
    assert found.readiness.reasons[0].startswith("34 of 34 answers hold dates")


def test_check_prints_the_verdict_and_the_page_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": f"What is room {n} called?", "completion": f"Room {n} is called after a river."} for n in range(9)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert main(["check", str(file), "--reports", str(tmp_path / "reports")]) == 0

    verdict = "PromptFirst: write the rows into the prompt first, and measure; 9 rows are few: all fit into a prompt"
    assert verdict in capsys.readouterr().out
    assert verdict in (tmp_path / "reports/data.html").read_text()
    report = json.loads((tmp_path / "reports/data.json").read_text())
    assert report["readiness"]["verdict"] == "PromptFirst"
    assert report["languages"]["rows"] == {"en": 9}
