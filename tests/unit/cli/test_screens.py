"""What is shown of a job, from statuses as an operator writes them, and from those of other versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from support.cli_jobs import BROKEN, NOW, TRAINING, job
from vernacular.cli.screens.describe import describe
from vernacular.cli.screens.jobs import job_table
from vernacular.cli.screens.layout import rows_of, table
from vernacular.cli.screens.values import duration, sparkline
from vernacular.cli.screens.watch import Course, ended, line, screen, succeeded
from vernacular.cli.terminal import Colour, printable

MOMENT = datetime.fromisoformat(NOW)


def plain(text: str, _: Colour | None) -> str:
    return text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"), (-3, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (320, "5m20s"), (3600, "1h"), (11_520, "3h12m"),
        (86_400, "1d"), (356_400, "4d3h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_the_course_of_values_as_bars() -> None:
    assert sparkline([3, 2, 1], 10) == "█▅▁"
    assert sparkline([1, 1], 10) == "▁▁"
    assert sparkline([9, 9, 2, 1], 2) == "█▁"
    assert sparkline([1], 10) == ""


def test_text_of_a_cluster_does_not_reach_the_terminal_as_it_is() -> None:
    assert printable("a\x1b[2Jb\nc") == "a [2Jb c"


def test_a_table_measures_what_is_seen() -> None:
    lines = table(("A", "B"), [], lambda text, colour: f"<{text}>" if colour else text)

    assert lines == ["<A>   <B>"]


def test_a_list_of_jobs() -> None:
    assert job_table([TRAINING, BROKEN], MOMENT, plain) == [
        "NAME            STATE      PROGRESS   ETA   VERDICT   AGE",
        "hr-bot          Training   40%        9m    -         1h",
        "hr-bot-broken   Failed     -          -     -         1h",
    ]


def test_a_job_that_nobody_has_seen_and_one_that_is_being_deleted() -> None:
    unseen, leaving = job("unseen", {}), job("leaving", {"state": "Training"})
    leaving["metadata"]["deletionTimestamp"] = NOW

    lines = job_table([unseen, leaving], MOMENT, plain)

    assert lines[1].split()[:2] == ["unseen", "-"]
    assert lines[2].split()[:2] == ["leaving", "Deleting"]


def test_everything_of_a_job() -> None:
    lines = describe(TRAINING, MOMENT, plain, 100)

    assert "Method:       LoRA, SFT; 8 GPUs in 2 pods" in lines
    assert "Rows from:    ConfigMap rows/train.jsonl" in lines
    assert "  Train     Running     2         49m    Training" in lines
    assert "  step 120 of 300 (40%), loss 0.412, held-out loss 0.48, 15,300 tokens/s, 9m left" in lines
    assert "  Warning LongRow: 2 rows (train.jsonl line 7, train.jsonl line 19)" in lines
    assert "  Readiness: MendFirst; 20 rows contradict another" in lines
    assert "  Run:          https://mlflow.example.org/#/experiments/3/runs/abc" in lines
    assert not any("2e-4" in text for text in lines)


def test_wide_shows_why_a_setting_has_its_value() -> None:
    lines = describe(TRAINING, MOMENT, plain, 100, wide=True)

    assert "  learningRate   2e-4    usual for LoRA" in lines


def test_a_failure_is_shown_whole() -> None:
    text = "\n".join(describe(BROKEN, MOMENT, plain, 60))

    assert "Code:         DatasetSchema" in text
    assert "Advice:       Use system, user, assistant or tool." in text


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"state": "Meditating", "reason": "NewReason", "stages": [{"name": "Dream", "state": "Deep"}]},
        {"progress": {}, "dataset": {}, "evaluation": {}, "mlflow": {}, "failure": {}, "usage": {}, "plan": {}},
        {
            "evaluation": {"verdict": "Marvellous"},
            "dataset": {"problems": [{"code": "X"}]},
            "progress": {"loss": "nan"},
        },
    ],
)
def test_statuses_of_other_versions(status: dict[str, Any]) -> None:
    stranger = job("stranger", status)

    assert describe(stranger, MOMENT, plain, 80, wide=True)
    assert job_table([stranger], MOMENT, plain, wide=True, namespaces=True)
    assert screen(stranger, Course().seen(stranger), MOMENT, plain, 80)
    assert line(stranger)


def test_a_watched_job_in_a_line() -> None:
    assert line(TRAINING) == (
        "Training (Training) step 120 of 300 (40%), loss 0.412, held-out loss 0.48, 15,300 tokens/s, 9m left"
    )
    assert line(BROKEN).startswith("Failed (DatasetSchema) ")


def test_losses_are_collected_while_it_is_watched() -> None:
    course = Course()
    for step, loss in ((1, "3.0"), (2, "2.0"), (2, "2.0"), (3, "nan"), (4, "1.0")):
        course = course.seen(job("a", {"progress": {"step": step, "loss": loss}}))

    assert course.losses == ((1, 3.0), (2, 2.0), (4, 1.0))
    # a training that goes on from a checkpoint at step 1
    assert course.seen(job("a", {"progress": {"step": 2, "loss": "2.5"}})).losses == ((1, 3.0), (2, 2.5))


def test_when_a_job_has_ended() -> None:
    assert ended(BROKEN)
    assert not succeeded(BROKEN)
    assert not ended(TRAINING)


def test_the_verdict_on_the_screen() -> None:
    done = job("a", {"evaluation": {"verdict": "Promote", "summary": "Tuned 34 of 38 right."}})

    lines = screen(done, Course(), MOMENT, plain, 80)

    assert lines[-2:] == ["Verdict:      Promote", "              Tuned 34 of 38 right."]


@pytest.mark.parametrize(("line", "rows"), [("", 1), ("a" * 80, 1), ("a" * 81, 2), (f"\x1b[31m{'a' * 80}\x1b[0m", 1)])
def test_rows_of_the_screen(line: str, rows: int) -> None:
    assert rows_of(line, 80) == rows


def test_the_screen_fits_a_narrow_terminal() -> None:
    lines = screen(BROKEN, Course(), datetime.now(UTC), plain, 60)

    assert max(len(text) for text in lines) <= 60
