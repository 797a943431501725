"""Jobs side by side: from their resources, and from their runs alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from support.cli_jobs import NOW, job
from vernacular.cli.comparing import HELD_OUT_LOSS, TRAINING_LOSS, as_document, differing, of_job, of_run, remarks
from vernacular.cli.runs import Run
from vernacular.cli.screens.compare import comparison
from vernacular.cli.screens.values import bars
from vernacular.cli.terminal import Colour

MOMENT = datetime.fromisoformat(NOW)


def plain(text: str, _: Colour | None) -> str:
    return text


def status(rate: str, tuned: int, **changes: Any) -> dict[str, Any]:
    return {
        "state": "Succeeded",
        "startTime": "2026-01-02T03:10:00Z",
        "completionTime": "2026-01-02T03:40:00Z",
        "mlflow": {"runID": f"run-{rate}"},
        "plan": {"values": [{"name": "learningRate", "value": rate}, {"name": "rank", "value": "16"}]},
        "dataset": {"digest": "sha256:" + "a" * 64, "train": 90},
        "evaluation": {
            "verdict": "Promote",
            "base": {"correct": 2, "wrong": 30, "declined": 6},
            "tuned": {"correct": tuned, "wrong": 38 - tuned, "declined": 0, "invented": 1},
            "gainPoints": {"value": 84, "low": 60, "high": 95},
            "prompted": {"correct": 13, "asked": 19, "wrong": 6, "declined": 0, "tunedCorrect": 15},
        },
        "usage": {"gpuSeconds": 5400, "cost": "3.75", "currency": "EUR"},
        **changes,
    }


RUN = Run(
    run_id="abc",
    job="hr-bot-1",
    namespace="demo",
    uid="uid-1",
    status="FINISHED",
    started_ms=1_000_000,
    ended_ms=2_860_000,
    artifact_uri="",
    params={"learningRate": "2e-4", "rank": "16", "model": "hf://org/model"},
    metrics={
        "verdict/base_correct": 2, "verdict/base_wrong": 30, "verdict/base_declined": 6, "verdict/tuned_correct": 34,
        "verdict/tuned_wrong": 3, "verdict/tuned_declined": 1, "verdict/tuned_invented": 1, "verdict/gain_points": 84,
        "verdict/gain_points_low": 60, "verdict/gain_points_high": 95, "usage/gpu_hours": 1.5, "usage/cost": 3.75,
    },
    tags={"vernacular.dev/verdict": "Promote", "vernacular.dev/currency": "EUR", "vernacular.dev/questions": "q1"},
)  # fmt: skip
FIRST = of_job(
    job("hr-bot", status("2e-4", 34)),
    RUN,
    {TRAINING_LOSS: ((1, 3.0), (2, 2.0), (3, 1.0)), HELD_OUT_LOSS: ((3, 1.25),)},
    MOMENT,
)
SECOND = of_job(job("hr-bot-2", status("1e-4", 30)), RUN, {TRAINING_LOSS: ((1, 3.0), (3, 2.0))}, MOMENT)


BARS = (
    bars(((1, 3.0), (2, 2.0), (3, 1.0)), 26, (1, 3), (1.0, 3.0)),
    bars(((1, 3.0), (3, 2.0)), 26, (1, 3), (1.0, 3.0)),
    bars(((3, 1.25),), 26, (3, 3), (1.25, 1.25)),
)


def test_two_jobs() -> None:
    assert comparison([FIRST, SECOND], plain, 60) == [
        "JOB        STATE       RUN",
        "hr-bot     Succeeded   run-2e-4",
        "hr-bot-2   Succeeded   run-1e-4",
        "",
        "Settings that differ",
        "  SETTING        hr-bot   hr-bot-2",
        "  learningRate   2e-4     1e-4",
        "  the other 4 settings are the same",
        "",
        "Training loss",
        f"  hr-bot     {BARS[0]}   3 to 1   step 3",
        f"  hr-bot-2   {BARS[1]}   3 to 2   step 3",
        "",
        "Loss on rows that were held out",
        f"  hr-bot     {BARS[2]}   1.25 to 1.25   step 3",
        f"  hr-bot-2   {' ' * 26}   -",
        "",
        "Answers",
        "  JOB        VERDICT   BASE      TUNED      WRONG   DECLINED   INVENTED   IN PROMPT   GAIN",
        "  hr-bot     Promote   2 of 38   34 of 38   4       0          1          13 of 19    +84 (+60 to +95)",
        "  hr-bot-2   Promote   2 of 38   30 of 38   8       0          1          13 of 19    +84 (+60 to +95)",
        "",
        "Used",
        "  JOB        TIME   GPU HOURS   COST",
        "  hr-bot     30m    1.50        3.75 EUR",
        "  hr-bot-2   30m    1.50        3.75 EUR",
    ]


def test_bars_stand_at_their_steps_on_a_common_scale() -> None:
    assert bars(((1, 3.0), (2, 2.0), (3, 1.0)), 5, (1, 3), (1.0, 3.0)) == "██▅▅▁"
    # half as long, and higher at its end
    assert bars(((1, 3.0), (2, 2.0)), 5, (1, 3), (1.0, 3.0)) == "██▅  "
    assert bars(((2, 1.0), (2, 3.0)), 3, (1, 3), (1.0, 3.0)) == " ▅ "


def test_a_run_says_the_same_as_its_job() -> None:
    old = of_run("hr-bot-1", RUN, {}, MOMENT)

    assert FIRST.score is not None
    assert old.score == replace(FIRST.score, wrong=3, declined=1, prompted=None)
    assert (old.state, old.spent) == ("Succeeded", replace(FIRST.spent, seconds=1860.0))
    # what one of them does not have is a difference
    assert differing([old, FIRST]) == {
        "datasetDigest": ("", "sha256:" + "a" * 64),
        "trainRows": ("", "90"),
    }


def test_a_job_without_a_plan_differs_in_nothing() -> None:
    waiting = of_job(job("new", {}), None, {}, MOMENT)

    assert differing([FIRST, waiting, replace(FIRST, name="copy")]) == {}
    assert remarks([FIRST, waiting]) == ["The settings of new are not known: it has no plan yet."]
    assert "  none; 5 settings are the same" in comparison([FIRST, waiting], plain, 80)


def test_other_questions_are_told() -> None:
    assert FIRST.score is not None
    better_base = replace(FIRST, score=replace(FIRST.score, base_correct=3))
    other = replace(FIRST, score=replace(FIRST.score, questions="q2"))
    fewer = replace(FIRST, score=replace(FIRST.score, questions="", asked=30))
    silent = replace(SECOND, score=replace(FIRST.score, questions=""))
    told = "These jobs were not asked the same questions: their right answers cannot be compared."

    assert remarks([FIRST, SECOND]) == []
    # how the base answers depends on more than the questions: its precision, the GPU
    assert remarks([FIRST, better_base]) == []
    assert remarks([FIRST, other]) == [told]
    assert remarks([FIRST, fewer]) == [told]
    assert remarks([FIRST, silent]) == [
        "What hr-bot-2 was asked is not known: right answers can be compared only if it was the same."
    ]


def test_a_commit_that_not_every_job_tells_is_no_difference() -> None:
    run = replace(RUN, params={**RUN.params, "modelRevision": "c1"})
    old = of_run("hr-bot-1", run, {}, MOMENT)
    same, later = (
        of_job(job("hr-bot", status("2e-4", 34)), replace(run, params={"modelRevision": commit}), {}, MOMENT)
        for commit in ("c1", "c2")
    )

    assert "modelRevision" not in differing([old, FIRST])
    assert "modelRevision" not in differing([old, same])
    assert differing([old, later])["modelRevision"] == ("c1", "c2")


def test_for_programs() -> None:
    document = json.loads(json.dumps(as_document([FIRST, SECOND])))

    assert document["differing"] == {"learningRate": ["2e-4", "1e-4"]}
    assert document["jobs"][0]["curves"][TRAINING_LOSS] == [[1, 3.0], [2, 2.0], [3, 1.0]]
    assert document["jobs"][1]["score"]["gain_low"] == 60
